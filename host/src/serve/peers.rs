//! Requests for tenants that another node has: they are handed on to it, and its answers handed back.
//!
//! The request goes on as it came, with the client's address in `X-Forwarded-For` and the other node's secret in
//! [`FORWARDED`], which makes that node believe it and answer without handing it on again. An answer in parts comes back as
//! a stream of frames, one for each part: its length, then how many confirmed parts there were up to and with it, both as
//! 32 bits, big end first; then the part. [`ANSWER`] in its head says so, and names the answer. What the client has of its
//! confirmed parts is told in requests of their own, `POST /-/answers/NAME?parts=N`, at last `?complete`: the plugin hears
//! of what arrived at the client, not of what arrived here.

mod relayed;
mod relays;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts as Head;
use hyper::{Response, StatusCode};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

pub(super) use self::relayed::framed;
use self::relayed::{Acknowledge, Relayed};
pub use self::relays::{Relay, Relays};
use super::answer::{self, AnswerBody, ClientResponse};
use super::proxies::Origin;
use crate::cluster::{Keeper, Peer, Shared, Stay};

/// The secret of the node that a request is handed on to.
pub const FORWARDED: HeaderName = HeaderName::from_static("x-postbell-forwarded");

/// The name of an answer in parts, which says that these come in frames.
pub const ANSWER: HeaderName = HeaderName::from_static("x-postbell-answer");

/// Says that the node did not have the tenant, and did nothing with the request.
pub const NOT_HERE: HeaderName = HeaderName::from_static("x-postbell-not-here");

/// Where nodes say what clients have.
pub const ANSWERS: &str = "/-/answers/";

/// How long a node may take for a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long a connection between nodes may be silent until it is probed.
const SILENCE: Duration = Duration::from_secs(15);

/// What belongs to one connection, and is not handed on.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    FORWARDED,
];

/// The login of a request, which its head has no more.
#[derive(Clone)]
pub struct Authorization(pub HeaderValue);

/// Why a request that was handed on has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The node does not have the tenant: the request may be handed on again.
    NotThere,
    /// The node does not answer, or is gone before it does.
    Gone,
}

/// The other nodes, for requests.
pub struct Peers {
    view: Shared,
    here: watch::Receiver<BTreeMap<String, Stay>>,
    news: watch::Receiver<()>,
    secret: Arc<str>,
    client: reqwest::Client,
    /// The answers that go to clients through other nodes.
    pub relays: Arc<Relays>,
}

impl Peers {
    /// Those that a keeper knows. `authorities`: certificates in PEM form that are trusted beside the public ones.
    ///
    /// # Errors
    ///
    /// These are no certificates, or there is no TLS.
    pub fn new(keeper: &Keeper, authorities: &[u8]) -> Result<Peers, reqwest::Error> {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(CONNECTING)
            .tcp_keepalive(SILENCE)
            .tcp_nodelay(true);
        for authority in reqwest::Certificate::from_pem_bundle(authorities)? {
            client = client.add_root_certificate(authority);
        }
        let (view, here, news, secret) = (keeper.view().clone(), keeper.here(), keeper.news(), keeper.secret().into());
        Ok(Peers { view, here, news, secret, client: client.build()?, relays: Arc::default() })
    }

    /// Whether a request was handed on by another node.
    pub fn sent(&self, headers: &HeaderMap) -> bool {
        let said = headers.get(FORWARDED).map(HeaderValue::as_bytes);
        said.is_some_and(|said| said.ct_eq(self.secret.as_bytes()).into())
    }

    /// The other node that has the tenant, as far as is known.
    pub fn owner(&self, tenant: &str) -> Option<Peer> {
        self.view.read().expect("nothing panics while this lock is held").elsewhere(tenant)
    }

    /// Keeps the tenant at this node until something is sent to it, if it is here, or opens here.
    pub fn stay(&self, tenant: &str) -> Option<Stay> {
        self.here.borrow().get(tenant).cloned()
    }

    /// Changes whenever a tenant may be elsewhere than before.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.clone()
    }

    /// Hands a client's request on.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn ask(
        &self,
        peer: Peer,
        head: &Head,
        origin: Origin,
        body: Bytes,
    ) -> Result<ClientResponse, Unanswered> {
        let Peer { name, node, mut lives } = peer;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut headers = handed_on(&head.headers, &node.secret);
        if let Some(Authorization(login)) = head.extensions.get() {
            headers.insert(header::AUTHORIZATION, login.clone());
        }
        let address = HeaderValue::try_from(origin.address.to_string()).expect("an address is a value");
        headers.insert("x-forwarded-for", address);
        headers.insert("x-forwarded-proto", HeaderValue::from_static(if origin.secure { "https" } else { "http" }));
        let request = self.client.request(head.method.clone(), format!("{}{target}", node.clients));
        let answered = tokio::select! {
            answered = request.headers(headers).body(body).send() => answered,
            _ = lives.changed() => return Err(Unanswered::Gone),
        };
        let response = answered.map_err(|error| {
            tracing::warn!(node = name, %error, "the node does not answer");
            Unanswered::Gone
        })?;
        if response.headers().contains_key(NOT_HERE) {
            return Err(Unanswered::NotThere);
        }
        let (status, headers) = (response.status(), handed_on(response.headers(), ""));
        let Some(answer) = name_of(&response) else {
            let whole = tokio::select! {
                whole = response.bytes() => whole.map_err(|_| Unanswered::Gone)?,
                _ = lives.changed() => return Err(Unanswered::Gone),
            };
            return Ok(answer::of_peer(status, headers, AnswerBody::whole(whole)));
        };
        let acknowledge = Acknowledge {
            client: self.client.clone(),
            url: format!("{}{ANSWERS}{answer:016x}", node.clients),
            secret: HeaderValue::try_from(&*node.secret).map_err(|_| Unanswered::Gone)?,
        };
        let relayed = Relayed::start(response, lives, acknowledge);
        Ok(answer::of_peer(status, headers, AnswerBody::parts(relayed)))
    }

    /// Hands a source's or an operator's request on. None: the node does not answer, or is gone before it does.
    pub async fn ask_admin(&self, mut peer: Peer, request: hyper::Request<Body>) -> Option<Response<Body>> {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let headers = handed_on(&head.headers, &peer.node.secret);
        let asked = self.client.request(head.method.clone(), format!("{}{target}", peer.node.admin)).headers(headers);
        let body = reqwest::Body::wrap_stream(body.into_data_stream());
        let answered = tokio::select! {
            answered = asked.body(body).send() => answered,
            _ = peer.lives.changed() => return None,
        };
        let answered =
            answered.inspect_err(|error| tracing::warn!(node = peer.name, %error, "the node does not answer"));
        let response = answered.ok()?;
        let (status, headers) = (response.status(), handed_on(response.headers(), ""));
        let mut handed_back = Response::new(Body::from_stream(chunks(response, peer.lives)));
        (*handed_back.status_mut(), *handed_back.headers_mut()) = (status, headers);
        Some(handed_back)
    }

    /// Another node says what a client has.
    pub fn acknowledged(&self, path: &str, query: Option<&str>) -> ClientResponse {
        let name = path.strip_prefix(ANSWERS).and_then(|name| u64::from_str_radix(name, 16).ok());
        let known = match (name, query) {
            (Some(name), Some("complete")) => self.relays.complete(name),
            (Some(name), Some(query)) => {
                let parts = query.strip_prefix("parts=").and_then(|parts| parts.parse().ok());
                parts.is_some_and(|parts| self.relays.acknowledge(name, parts))
            }
            _ => false,
        };
        let status = if known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
        answer::of_peer(status, HeaderMap::new(), AnswerBody::whole(Vec::new()))
    }
}

/// What another node answers, for as long as it lives: an answer that it does not end is not taken for whole.
fn chunks(response: reqwest::Response, lives: watch::Receiver<()>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some((response, lives)), |state| async move {
        let (mut response, mut lives) = state?;
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk.map_err(io::Error::other),
            _ = lives.changed() => Err(io::Error::other("the node is gone")),
        };
        match chunk {
            Ok(chunk) => chunk.map(|chunk| (Ok(chunk), Some((response, lives)))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// The headers that go on; with this secret, if there is one.
fn handed_on(headers: &HeaderMap, secret: &str) -> HeaderMap {
    let mut kept = headers.clone();
    for name in OF_THE_CONNECTION.iter().chain([&ANSWER]) {
        kept.remove(name);
    }
    if let Some(secret) = HeaderValue::try_from(secret).ok().filter(|secret| !secret.is_empty()) {
        kept.insert(FORWARDED, secret);
    }
    kept
}

fn name_of(response: &reqwest::Response) -> Option<u64> {
    u64::from_str_radix(response.headers().get(ANSWER)?.to_str().ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_is_not_handed_on() {
        let headers = [("connection", "close"), ("host", "mail.example.org"), ("x-postbell-forwarded", "guessed")];
        let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        let on = handed_on(&headers, "secret");
        assert_eq!(
            (on.len(), &on[header::HOST], &on[FORWARDED]),
            (2, &headers[header::HOST], &HeaderValue::from_static("secret"))
        );
        assert_eq!(handed_on(&headers, "").len(), 1);
    }
}
