//! Answers on their way out: from the plugin's replies to HTTP responses.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::connection::InFlight;
use super::delivery::{Deliveries, Delivery, Settle};
use super::logins::Substitution;
use super::peers::{Relay, Relays, framed};
use crate::contract::types::Reply;
use crate::tenant::{Answer, Body, Closed, Parts};

/// What a client gets.
pub type ClientResponse = Response<AnswerBody>;

/// Where the parts of a streamed answer come from.
pub trait PartSource: Send {
    /// The next part; `None` after the last.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Closed>>>;

    /// How many of the parts given so far are confirmed ones.
    fn confirmed(&self) -> u32;

    /// Who is to be told what the client has; none if nobody waits for that.
    fn receipt(&mut self) -> Option<Box<dyn Settle>>;
}

impl PartSource for Parts {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Closed>>> {
        self.poll_next(context)
    }

    fn confirmed(&self) -> u32 {
        Parts::confirmed(self)
    }

    fn receipt(&mut self) -> Option<Box<dyn Settle>> {
        Parts::receipt(self).map(|receipt| Box::new(receipt) as Box<dyn Settle>)
    }
}

/// The body of a response: whole, or one frame, and so one HTTP chunk, for each part.
pub struct AnswerBody {
    content: Content,
    substitution: Option<Substitution>,
    /// Keeps the connection's request alive until the body is out.
    in_flight: Option<InFlight>,
}

enum Content {
    Whole(Bytes),
    Parts(Stream),
}

/// Parts on their way.
struct Stream {
    source: Box<dyn PartSource>,
    delivery: Option<Delivery>,
    /// The client is another node's.
    relay: Option<Relay>,
}

impl Stream {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Closed>>> {
        if let Some(delivery) = &self.delivery {
            ready!(delivery.poll_room(context));
        }
        let confirmed = self.source.confirmed();
        let part = ready!(self.source.poll_part(context));
        match (&part, &mut self.delivery) {
            (Some(Ok(bytes)), Some(delivery)) => delivery.part(bytes.len(), confirmed),
            (None, delivery) => {
                delivery.take().into_iter().for_each(Delivery::complete);
                self.relay.iter_mut().for_each(Relay::end);
            }
            (Some(_), _) => {}
        }
        Poll::Ready(part)
    }

    /// As it is sent.
    fn sent(&self, part: Bytes) -> Bytes {
        match self.relay {
            Some(_) => framed(&part, self.source.confirmed()),
            None => part,
        }
    }
}

impl AnswerBody {
    /// A body that is complete.
    pub fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
        AnswerBody { content: Content::Whole(bytes.into()), substitution: None, in_flight: None }
    }

    /// A body that comes in parts.
    pub fn parts(source: impl PartSource + 'static) -> AnswerBody {
        let content = Content::Parts(Stream { source: Box::new(source), delivery: None, relay: None });
        AnswerBody { content, substitution: None, in_flight: None }
    }

    /// Sends the parts to another node, whose client it is: the answer's name there. None: it has no parts.
    pub fn relay(&mut self, relays: &Arc<Relays>) -> Option<u64> {
        let Content::Parts(stream) = &mut self.content else { return None };
        let (name, relay) = relays.begin(stream.source.receipt());
        stream.relay = Some(relay);
        Some(name)
    }

    /// Ties the connection's request to this body: it is over when the body is. What of it arrives is noted in
    /// `deliveries`.
    pub fn hold(&mut self, in_flight: InFlight, deliveries: &Deliveries) {
        if let Content::Parts(stream) = &mut self.content {
            in_flight.stream();
            stream.delivery = stream.source.receipt().map(|receipt| deliveries.answer(receipt));
        }
        self.in_flight = Some(in_flight);
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Closed;

    /// An error ends the connection without the last chunk, so that the client knows that something is missing.
    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let this = &mut *self;
        let substitution = &this.substitution;
        match &mut this.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Parts(stream) => {
                let part = ready!(stream.poll_part(context));
                let sent = |bytes| Frame::data(stream.sent(substituted(bytes, substitution.as_ref())));
                Poll::Ready(part.map(|part| part.map(sent)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Parts(_) => SizeHint::default(),
        }
    }
}

/// A tenant's answer; a token, if one was issued, takes the place of its placeholder in headers and body.
pub fn of_answer(answer: Answer, substitution: Option<Substitution>) -> ClientResponse {
    let mut body = match answer.body {
        Body::Whole(bytes) => AnswerBody::whole(substituted(bytes, substitution.as_ref())),
        Body::Parts(parts) => AnswerBody::parts(parts),
    };
    let headers = end_to_end(&answer.headers, substitution.as_ref());
    body.substitution = substitution;
    respond(answer.status, headers, body)
}

/// A plugin's reply that is complete.
pub fn of_reply(reply: Reply) -> ClientResponse {
    respond(reply.status, end_to_end(&reply.headers, None), AnswerBody::whole(reply.body))
}

/// What another node answered.
pub fn of_peer(status: StatusCode, headers: HeaderMap, body: AnswerBody) -> ClientResponse {
    respond(status.as_u16(), headers, body)
}

/// An answer of the host's own, in plain text.
pub fn plain(status: StatusCode, text: &str) -> ClientResponse {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))]);
    respond(status.as_u16(), headers, AnswerBody::whole(format!("{text}\n")))
}

/// The response, after which the connection is closed.
pub fn closing(mut response: ClientResponse) -> ClientResponse {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn respond(status: u16, headers: HeaderMap, body: AnswerBody) -> ClientResponse {
    let mut response = Response::new(body);
    let final_status = StatusCode::from_u16(status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    if final_status.is_none() {
        tracing::warn!(status, "the plugin answered with an impossible status; the client gets 500");
    }
    *response.status_mut() = final_status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}

/// What belongs to the connection or to the framing of the body is the host's to say.
const OWN_HEADERS: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::DATE,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

fn end_to_end(headers: &[(String, String)], substitution: Option<&Substitution>) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let value = substituted(Bytes::copy_from_slice(value.as_bytes()), substitution);
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value)) {
            (Ok(name), Ok(value)) if !OWN_HEADERS.contains(&name) => drop(kept.append(name, value)),
            (Ok(_), Ok(_)) => {}
            _ => tracing::warn!(name, "the plugin gave an impossible header; it is left out"),
        }
    }
    kept
}

/// The bytes, with the token wherever its placeholder stands.
fn substituted(bytes: Bytes, substitution: Option<&Substitution>) -> Bytes {
    let Some(Substitution { placeholder, token }) = substitution else { return bytes };
    let (mut rest, mut written) = (&bytes[..], BytesMut::new());
    while let Some(start) = rest.windows(placeholder.len()).position(|window| window == placeholder.as_bytes()) {
        written.extend_from_slice(&rest[..start]);
        written.extend_from_slice(token.as_bytes());
        rest = &rest[start + placeholder.len()..];
    }
    if written.is_empty() {
        return bytes;
    }
    written.extend_from_slice(rest);
    written.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::connection::Activity;
    use crate::serve::delivery::testing::Told;
    use http_body_util::BodyExt;
    use std::collections::VecDeque;
    use zeroize::Zeroizing;

    /// Parts that are all confirmed ones.
    #[derive(Default)]
    struct Script {
        parts: VecDeque<Result<Bytes, Closed>>,
        given: u32,
        told: Told,
    }

    impl Script {
        fn new<const N: usize>(parts: [&'static str; N]) -> Script {
            let parts = parts.map(|part| Ok(Bytes::from_static(part.as_bytes()))).into();
            Script { parts, ..Script::default() }
        }
    }

    impl PartSource for Script {
        fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Closed>>> {
            let part = self.parts.pop_front();
            self.given += u32::from(matches!(part, Some(Ok(_))));
            Poll::Ready(part)
        }

        fn confirmed(&self) -> u32 {
            self.given
        }

        fn receipt(&mut self) -> Option<Box<dyn Settle>> {
            Some(self.told.receipt(1))
        }
    }

    fn substitution() -> Option<Substitution> {
        Some(Substitution { placeholder: "<here>".to_owned(), token: Zeroizing::new("abc".to_owned()) })
    }

    #[test]
    fn a_token_takes_every_place_of_its_placeholder() {
        for (text, expected) in [("", ""), ("x", "x"), ("<here>", "abc"), ("a<here>b<here><here", "aabcbabc<here")] {
            assert_eq!(substituted(Bytes::from_static(text.as_bytes()), substitution().as_ref()), expected);
        }
    }

    #[tokio::test]
    async fn each_part_is_a_frame_and_tokens_are_put_in() {
        let mut body = AnswerBody::parts(Script::new(["one <here>", "two", "<here>"]));
        body.substitution = substitution();
        for expected in ["one abc", "two", "abc"] {
            let frame = body.frame().await.expect("a part").expect("no error");
            assert_eq!(frame.into_data().expect("data"), expected);
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn what_is_written_of_a_body_is_noted() {
        let (deliveries, script) = (Deliveries::default(), Script::new(["1", "2"]));
        let told = script.told.clone();
        let mut body = AnswerBody::parts(script);
        body.hold(Activity::default().begin(), &deliveries);
        for (written, expected) in [(10, ""), (20, "1: 1"), (30, "1: complete")] {
            let frame = body.frame().await.transpose().expect("no error");
            assert_eq!(frame.is_some(), written < 30);
            deliveries.flushed(written);
            deliveries.acknowledged(written);
            assert_eq!(told.take(), expected);
        }
    }

    #[tokio::test]
    async fn a_body_that_is_closed_is_broken_off() {
        let (deliveries, mut script) = (Deliveries::default(), Script::new(["1"]));
        script.parts.push_back(Err(Closed("why".to_owned())));
        let told = script.told.clone();
        let mut body = AnswerBody::parts(script);
        body.hold(Activity::default().begin(), &deliveries);
        assert!(body.frame().await.is_some_and(|part| part.is_ok()));
        assert!(body.frame().await.is_some_and(|part| part.is_err()));
        drop(body);
        deliveries.flushed(10);
        deliveries.acknowledged(10);
        assert_eq!(told.take(), "1: gone");
    }

    #[test]
    fn an_answer_keeps_its_own_headers_and_loses_those_of_the_connection() {
        let headers = [
            ("Content-Type", "text/xml; charset=utf-8"),
            ("Set-Cookie", "token=<here>"),
            ("set-cookie", "b=c"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "3"),
            ("Connection", "close"),
            ("bad name", "x"),
            ("x-bad", "line\nbreak"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let answer = Answer { status: 299, headers, body: Body::Whole(Bytes::from_static(b"<here>!")) };
        let response = of_answer(answer, substitution());
        assert_eq!(response.status(), 299);
        assert_eq!(response.headers().len(), 3);
        assert_eq!(response.headers()["set-cookie"], "token=abc");
        assert_eq!(response.body().size_hint().exact(), Some(4));
    }

    #[test]
    fn an_impossible_status_is_an_error_of_the_server() {
        for (status, expected) in [(0, 500), (100, 500), (101, 500), (200, 200), (599, 599), (600, 500), (1000, 500)] {
            let answer = Answer { status, headers: Vec::new(), body: Body::Whole(Bytes::new()) };
            assert_eq!(of_answer(answer, None).status(), expected, "{status}");
        }
    }
}
