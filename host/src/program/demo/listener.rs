//! A streaming EWS client, as small as one can be: it subscribes to all folders over HTTP, keeps a stream open, and
//! prints a line for every event.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::oneshot;
use ureq::{Agent, Body, http::Response};

use super::{CAROL, PASSWORD};

/// How long to wait before a stream that ended is opened again.
const PAUSE: Duration = Duration::from_secs(2);

/// More than this without the end of an envelope is no stream of events.
const ENVELOPE_BYTES: usize = 4 << 20;

const END: &str = "</Envelope>";

/// The events of EWS, by their elements.
const EVENTS: [&str; 7] = [
    "CopiedEvent",
    "CreatedEvent",
    "DeletedEvent",
    "ModifiedEvent",
    "MovedEvent",
    "NewMailEvent",
    "FreeBusyChangedEvent",
];

/// Listens as carol at the client listener of this URL, and prints what she hears on stdout. Ends when stdout does;
/// dropped, it ends with the next thing that is heard.
pub async fn listen(client_url: String) {
    let (listening, ended) = oneshot::channel();
    // A thread of its own, because it blocks for as long as nothing happens: the program does not wait for it.
    std::thread::spawn(move || follow_for_ever(&Client::new(&client_url), &listening));
    // Never sent: it ends when the thread lets go of it.
    let _ = ended.await;
}

fn follow_for_ever(client: &Client, listening: &oneshot::Sender<()>) {
    while !listening.is_closed() {
        match client.follow(listening) {
            Ok(()) => return,
            Err(error) => tracing::debug!(error = format!("{error:#}"), "the demo's stream ended"),
        }
        std::thread::sleep(PAUSE);
    }
}

struct Client {
    agent: Agent,
    url: String,
    authorization: String,
}

impl Client {
    fn new(client_url: &str) -> Client {
        Client {
            agent: Agent::new_with_defaults(),
            url: format!("{}/EWS/Exchange.asmx", client_url.trim_end_matches('/')),
            authorization: format!("Basic {}", BASE64.encode(format!("{CAROL}:{PASSWORD}"))),
        }
    }

    /// Subscribes, and prints what comes until nobody listens; an error if the subscription or the server is lost.
    fn follow(&self, listening: &oneshot::Sender<()>) -> anyhow::Result<()> {
        let answer = self.post(&subscribe())?.body_mut().read_to_string()?;
        let elements = elements(&answer);
        let subscription = elements.iter().find(|it| it.name == "SubscriptionId").context("no SubscriptionId")?;
        while !listening.is_closed() {
            let mut stream = self.post(&get_streaming_events(subscription.text))?.into_body().into_reader();
            let mut text = String::new();
            while let Some(envelope) = next_envelope(&mut stream, &mut text)? {
                if envelope.contains("ErrorInvalidSubscription") {
                    bail!("the subscription is gone");
                }
                for line in describe(&envelope) {
                    if listening.is_closed() || writeln!(std::io::stdout(), "{line}").is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn post(&self, body: &str) -> anyhow::Result<Response<Body>> {
        let post = self.agent.post(&self.url).header("authorization", &self.authorization);
        Ok(post.content_type("text/xml; charset=utf-8").send(body)?)
    }
}

fn subscribe() -> String {
    let events: String = EVENTS.iter().map(|event| format!("<t:EventType>{event}</t:EventType>")).collect();
    envelope(&format!(
        "<m:Subscribe><m:StreamingSubscriptionRequest SubscribeToAllFolders=\"true\"><t:EventTypes>{events}\
         </t:EventTypes></m:StreamingSubscriptionRequest></m:Subscribe>"
    ))
}

fn get_streaming_events(subscription: &str) -> String {
    envelope(&format!(
        "<m:GetStreamingEvents><m:SubscriptionIds><t:SubscriptionId>{subscription}</t:SubscriptionId>\
         </m:SubscriptionIds><m:ConnectionTimeout>30</m:ConnectionTimeout></m:GetStreamingEvents>"
    ))
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\">\
         <s:Header><t:RequestServerVersion Version=\"Exchange2016\"/></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

/// The next envelope of a stream; `text` keeps what was read beyond it.
fn next_envelope(stream: &mut impl Read, text: &mut String) -> anyhow::Result<Option<String>> {
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = text.find(END) {
            let rest = text.split_off(end + END.len());
            return Ok(Some(std::mem::replace(text, rest)));
        }
        if text.len() > ENVELOPE_BYTES {
            bail!("an envelope without an end");
        }
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            // The ids and names that are shown are ASCII here; a character that is cut in two is shown as unknown.
            read => text.push_str(&String::from_utf8_lossy(&piece[..read])),
        }
    }
}

/// A line for every event of an envelope, and for its end.
fn describe(envelope: &str) -> Vec<String> {
    let elements = elements(envelope);
    let mut lines = Vec::new();
    let mut event: Option<Vec<String>> = None;
    for Element { name, id, text, closes } in elements {
        match (name, &mut event) {
            (name, _) if EVENTS.contains(&name) && !closes => event = Some(vec![format!("carol heard {name}:")]),
            (name, Some(words)) if EVENTS.contains(&name) => {
                lines.push(words.join(" "));
                event = None;
            }
            (_, Some(_)) if closes => {}
            ("ItemId", Some(words)) => words.push(format!("item {id}")),
            ("FolderId", Some(words)) => words.push(format!("folder {id}")),
            ("ParentFolderId", Some(words)) => words.push(format!("in {id}")),
            ("OldItemId" | "OldFolderId", Some(words)) => words.push(format!("(was {id}")),
            ("OldParentFolderId", Some(words)) => words.push(format!("in {id})")),
            ("UnreadCount", Some(words)) => words.push(format!("unread {text}")),
            _ => {}
        }
    }
    lines
}

/// A tag of a document whose form is known: no comments, no CDATA, no `>` in attributes.
struct Element<'a> {
    /// Without its prefix.
    name: &'a str,
    /// The value of its attribute `Id`.
    id: &'a str,
    /// What follows it up to the next tag.
    text: &'a str,
    closes: bool,
}

fn elements(xml: &str) -> Vec<Element<'_>> {
    let tags = xml.split('<').skip(1).filter_map(|piece| piece.split_once('>'));
    tags.map(|(tag, text)| {
        let closes = tag.starts_with('/');
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        let name = name.rsplit(':').next().unwrap_or_default();
        let id = tag.split_once(" Id=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        Element { name, id, text, closes }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTIFICATION: &str = "<Envelope xmlns=\"x\"><Body><m:Notification><t:SubscriptionId>s</t:SubscriptionId>\
        <t:NewMailEvent><t:TimeStamp>T</t:TimeStamp><t:ItemId Id=\"i1\" ChangeKey=\"c\"/>\
        <t:ParentFolderId Id=\"inbox\" ChangeKey=\"c\"/></t:NewMailEvent>\
        <t:ModifiedEvent><t:TimeStamp>T</t:TimeStamp><t:FolderId Id=\"inbox\"/><t:ParentFolderId Id=\"root\"/>\
        <t:UnreadCount>3</t:UnreadCount></t:ModifiedEvent>\
        <t:MovedEvent><t:TimeStamp>T</t:TimeStamp><t:ItemId Id=\"i2\"/><t:ParentFolderId Id=\"b\"/>\
        <t:OldItemId Id=\"i1\"/><t:OldParentFolderId Id=\"a\"/></t:MovedEvent>\
        </m:Notification></Body></Envelope>";

    #[test]
    fn a_line_for_every_event() {
        assert_eq!(
            describe(NOTIFICATION),
            [
                "carol heard NewMailEvent: item i1 in inbox",
                "carol heard ModifiedEvent: folder inbox in root unread 3",
                "carol heard MovedEvent: item i2 in b (was i1 in a)",
            ]
        );
        assert!(describe("<Envelope><m:ConnectionStatus>OK</m:ConnectionStatus></Envelope>").is_empty());
    }

    #[test]
    fn envelopes_come_in_any_pieces() {
        struct Slowly<'a>(&'a [u8]);
        impl Read for Slowly<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let count = self.0.len().min(7);
                into[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let both = NOTIFICATION.repeat(2);
        let (mut stream, mut text) = (Slowly(both.as_bytes()), String::new());
        assert_eq!(next_envelope(&mut stream, &mut text).unwrap().as_deref(), Some(NOTIFICATION));
        assert_eq!(next_envelope(&mut stream, &mut text).unwrap().as_deref(), Some(NOTIFICATION));
        assert_eq!(next_envelope(&mut stream, &mut text).unwrap(), None);
    }
}
