//! An EWS client by hand, with roxmltree as an XML parser of its own: it takes nothing from the server on trust.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use roxmltree::{Document, Node};

use crate::PATIENCE;
use crate::http::{Answer, Connection, Head, basic, request};
use crate::program::Server;
use crate::strict_reader;

/// Where EWS is served.
pub const PATH: &str = "/EWS/Exchange.asmx";

/// The namespace of envelopes.
pub const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// The namespace of messages.
pub const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
/// The namespace of types.
pub const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
/// The namespace of what is in a fault's detail.
pub const ERRORS: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";

/// Every type of event that can be subscribed to.
pub const EVENT_TYPES: &str = "<t:EventTypes><t:EventType>CopiedEvent</t:EventType><t:EventType>CreatedEvent</t:EventType>\
    <t:EventType>DeletedEvent</t:EventType><t:EventType>ModifiedEvent</t:EventType><t:EventType>MovedEvent</t:EventType>\
    <t:EventType>NewMailEvent</t:EventType><t:EventType>FreeBusyChangedEvent</t:EventType></t:EventTypes>";

/// A mail user's client.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    authorization: String,
    patience: Duration,
}

/// The part of an answer that every operation has, and what these operations add to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// `ResponseClass`: Success, Warning or Error.
    pub class: String,
    /// `ResponseCode`.
    pub code: String,
    /// `SubscriptionId` of a `SubscribeResponseMessage`.
    pub subscription: Option<String>,
    /// `Watermark` of a `SubscribeResponseMessage`.
    pub watermark: Option<String>,
    /// `ConnectionStatus`: OK or Closed.
    pub status: Option<String>,
    /// What `ErrorSubscriptionIds` lists.
    pub bad: Vec<String>,
    /// One for each `Notification`.
    pub notifications: Vec<Notification>,
}

/// What happened in one subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// `SubscriptionId`.
    pub subscription: String,
    /// `PreviousWatermark`; in answers of GetEvents only.
    pub previous: Option<String>,
    /// `MoreEvents`; in answers of GetEvents only.
    pub more: Option<bool>,
    /// In the order of the answer.
    pub events: Vec<Event>,
}

/// One event. Printed, it shows all of it but the watermark.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// The element's name.
    pub kind: String,
    /// `Watermark`.
    pub watermark: Option<String>,
    /// `TimeStamp`.
    pub time: Option<String>,
    /// `Id` of `ItemId`, as the source named it.
    pub item: Option<String>,
    /// `Id` of `FolderId`, as the source named it.
    pub folder: Option<String>,
    /// `Id` of `ParentFolderId`, as the source named it.
    pub parent: Option<String>,
    /// `Id` of `OldItemId` or `OldFolderId`, as the source named it.
    pub old: Option<String>,
    /// `Id` of `OldParentFolderId`, as the source named it.
    pub old_parent: Option<String>,
    /// `UnreadCount`.
    pub unread: Option<u32>,
}

impl Client {
    /// A user of the server.
    pub fn new(server: &Server, login: &str, password: &str) -> Client {
        Client::at(server.clients, login, password)
    }

    /// A user of whatever listens there.
    pub fn at(address: SocketAddr, login: &str, password: &str) -> Client {
        Client { address, authorization: basic(login, password), patience: PATIENCE }
    }

    /// One that gives up a server that says nothing for so long.
    pub fn patient(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// A user of the demo.
    pub fn demo(server: &Server, name: &str) -> Client {
        Client::new(server, name, "postbell")
    }

    /// A connection to the server.
    pub fn connect(&self) -> Result<Connection> {
        Connection::patient(self.address, self.patience)
    }

    /// The bytes of a request whose body is this.
    pub fn post(&self, body: &str) -> Vec<u8> {
        self.post_with(&[("Content-Type", "text/xml; charset=utf-8")], body)
    }

    /// The bytes of a request with these headers, and the login, and this body.
    pub fn post_with(&self, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
        let headers = [headers, &[("Authorization", self.authorization.as_str())]].concat();
        request("POST", PATH, &headers, body.as_bytes())
    }

    /// Sends one operation on a connection of its own.
    pub fn ask(&self, operation: &str) -> Result<Answer> {
        self.connect()?.ask(&self.post(&envelope(operation)))
    }

    /// Sends one operation that has one answer.
    pub fn message(&self, operation: &str) -> Result<Message> {
        let answer = self.ask(operation)?;
        let name = operation.strip_prefix("<m:").and_then(|rest| rest.split(['>', ' ', '/']).next());
        let mut messages = strict_reader::messages(&answer, name.context("an operation")?)?;
        ensure!(messages.len() == 1 && messages[0] == message(&answer.body)?, "strict readers see {messages:?}");
        Ok(messages.remove(0))
    }

    /// Subscribes a stream to all folders and events.
    pub fn subscribe_streaming(&self) -> Result<String> {
        let message = self.message(&subscribe_streaming(ALL_FOLDERS))?;
        message.subscription.clone().with_context(|| format!("subscribed: {message:?}"))
    }

    /// Subscribes to all folders and events, to ask for them: the subscription and its first watermark.
    pub fn subscribe_pull(&self) -> Result<(String, String)> {
        let message = self.message(&subscribe_pull(ALL_FOLDERS))?;
        let pair = message.subscription.clone().zip(message.watermark.clone());
        pair.with_context(|| format!("subscribed: {message:?}"))
    }

    /// Asks once for what happened after a watermark.
    pub fn get_events(&self, subscription: &str, watermark: &str) -> Result<Notification> {
        let mut message = self.message(&get_events(subscription, watermark))?;
        ensure!(message.code == "NoError" && message.notifications.len() == 1, "{message:?}");
        Ok(message.notifications.remove(0))
    }

    /// Asks until there is nothing more. Moves the watermark on.
    pub fn all_events(&self, subscription: &str, watermark: &mut String) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            let notification = self.get_events(subscription, watermark)?;
            let last = notification.events.last().and_then(|event| event.watermark.clone());
            *watermark = last.with_context(|| format!("a watermark: {notification:?}"))?;
            events.extend(notification.events.into_iter().filter(|event| event.kind != "StatusEvent"));
            if notification.more != Some(true) {
                return Ok(events);
            }
        }
    }

    /// Opens a stream for these subscriptions, and reads what says that it is open.
    pub fn stream(&self, subscriptions: &[&str]) -> Result<Stream> {
        let mut stream = self.stream_with(&[], subscriptions)?;
        let first = stream.next()?.context("a stream that ended at once")?;
        ensure!(first.status.as_deref() == Some("OK"), "{first:?}");
        Ok(stream)
    }

    /// Opens a stream with these headers in its request; reads only the answer's head.
    pub fn stream_with(&self, headers: &[(&str, &str)], subscriptions: &[&str]) -> Result<Stream> {
        self.open(headers, &envelope(&get_streaming_events(subscriptions, 30)))
    }

    /// Sends this body, which asks for a stream; reads only the answer's head.
    pub fn open(&self, headers: &[(&str, &str)], body: &str) -> Result<Stream> {
        let mut connection = self.connect()?;
        connection.send(&self.post_with(headers, body))?;
        let head = connection.head()?;
        Ok(Stream { connection, head, last: String::new() })
    }
}

/// An open GetStreamingEvents.
#[derive(Debug)]
pub struct Stream {
    connection: Connection,
    /// Status and headers of the answer.
    pub head: Head,
    /// The bytes of the last envelope.
    pub last: String,
}

impl Stream {
    /// The next envelope, heartbeats included; none at the end of the stream. Fails unless it is one chunk, whole and alone.
    #[expect(
        clippy::should_implement_trait,
        reason = "it may fail, and a `?` reads better than an iterator of results"
    )]
    pub fn next(&mut self) -> Result<Option<Message>> {
        let Some(chunk) = self.connection.chunk()? else { return Ok(None) };
        self.last = String::from_utf8(chunk)?;
        let message = message(&self.last)?;
        ensure!(strict_reader::part(&self.last)? == message, "strict readers see something else: {message:?}");
        Ok(Some(message))
    }

    /// The events of the next envelope that has some.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        loop {
            let message = self.next()?.context("the stream ended")?;
            ensure!(message.class == "Success", "{message:?}");
            if !message.notifications.is_empty() {
                return Ok(message.notifications.into_iter().flat_map(|notification| notification.events).collect());
            }
        }
    }

    /// Reads to the end of the stream, whose last message must be Closed.
    pub fn closed(&mut self) -> Result<()> {
        let mut last = None;
        while let Some(message) = self.next()? {
            last = Some(message);
        }
        ensure!(last.as_ref().and_then(|message| message.status.as_deref()) == Some("Closed"), "at the end: {last:?}");
        Ok(())
    }
}

/// What stands in a subscription request to mean every folder.
pub const ALL_FOLDERS: &str = "";

/// Subscribe, streaming: to the folders of a `t:FolderIds` element, or to all.
pub fn subscribe_streaming(folders: &str) -> String {
    let all = if folders.is_empty() { r#" SubscribeToAllFolders="true""# } else { "" };
    format!(
        "<m:Subscribe><m:StreamingSubscriptionRequest{all}>{folders}{EVENT_TYPES}</m:StreamingSubscriptionRequest></m:Subscribe>"
    )
}

/// Subscribe, pull, for ten idle minutes: to the folders of a `t:FolderIds` element, or to all.
pub fn subscribe_pull(folders: &str) -> String {
    let all = if folders.is_empty() { r#" SubscribeToAllFolders="true""# } else { "" };
    format!(
        "<m:Subscribe><m:PullSubscriptionRequest{all}>{folders}{EVENT_TYPES}<t:Timeout>10</t:Timeout>\
         </m:PullSubscriptionRequest></m:Subscribe>"
    )
}

/// Subscribe, push, with this status frequency: to the folders of a `t:FolderIds` element, or to all.
pub fn subscribe_push(folders: &str, minutes: u32, url: &str) -> String {
    let all = if folders.is_empty() { r#" SubscribeToAllFolders="true""# } else { "" };
    format!(
        "<m:Subscribe><m:PushSubscriptionRequest{all}>{folders}{EVENT_TYPES}<t:StatusFrequency>{minutes}\
         </t:StatusFrequency><t:URL>{url}</t:URL></m:PushSubscriptionRequest></m:Subscribe>"
    )
}

/// Subscribe, pull, for ten idle minutes: to all folders, from a watermark on.
pub fn subscribe_pull_after(watermark: &str) -> String {
    let watermark = format!("{EVENT_TYPES}<t:Watermark>{watermark}</t:Watermark>");
    subscribe_pull(ALL_FOLDERS).replace(EVENT_TYPES, &watermark)
}

/// GetEvents.
pub fn get_events(subscription: &str, watermark: &str) -> String {
    format!(
        "<m:GetEvents><m:SubscriptionId>{subscription}</m:SubscriptionId><m:Watermark>{watermark}</m:Watermark></m:GetEvents>"
    )
}

/// GetStreamingEvents.
pub fn get_streaming_events(subscriptions: &[&str], minutes: u32) -> String {
    let ids: String = subscriptions.iter().map(|id| format!("<t:SubscriptionId>{id}</t:SubscriptionId>")).collect();
    format!(
        "<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds>\
         <m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents>"
    )
}

/// Unsubscribe.
pub fn unsubscribe(subscription: &str) -> String {
    format!("<m:Unsubscribe><m:SubscriptionId>{subscription}</m:SubscriptionId></m:Unsubscribe>")
}

/// The envelope of a request, as clients write it.
pub fn envelope(operation: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP}" xmlns:m="{MESSAGES}" xmlns:t="{TYPES}"><s:Header><t:RequestServerVersion Version="Exchange2016"/></s:Header><s:Body>{operation}</s:Body></s:Envelope>"#
    )
}

/// Reads the envelope of an answer with one response message.
pub fn message(text: &str) -> Result<Message> {
    let document = Document::parse(text).with_context(|| format!("parsing {text:?}"))?;
    let mut messages = document.descendants().filter(|node| node.has_attribute("ResponseClass"));
    let (Some(node), None) = (messages.next(), messages.next()) else { bail!("not one response message: {text:?}") };
    Ok(Message {
        class: node.attribute("ResponseClass").unwrap_or_default().to_owned(),
        code: text_of(node, "ResponseCode").context("a response code")?,
        subscription: text_of(node, "SubscriptionId"),
        watermark: text_of(node, "Watermark"),
        status: text_of(node, "ConnectionStatus"),
        bad: child(node, "ErrorSubscriptionIds").map(texts).unwrap_or_default(),
        notifications: notifications(node)?,
    })
}

/// `Notification` stands alone in an answer of GetEvents, and in `Notifications` in a stream.
fn notifications(message: Node) -> Result<Vec<Notification>> {
    let within = child(message, "Notifications").unwrap_or(message);
    within.children().filter(|node| node.tag_name().name() == "Notification").map(notification).collect()
}

fn notification(node: Node) -> Result<Notification> {
    let events = node.children().filter(|child| child.tag_name().name().ends_with("Event"));
    Ok(Notification {
        subscription: text_of(node, "SubscriptionId").context("a subscription id")?,
        previous: text_of(node, "PreviousWatermark"),
        more: text_of(node, "MoreEvents").map(|text| text.parse()).transpose()?,
        events: events.map(event).collect::<Result<_>>()?,
    })
}

fn event(node: Node) -> Result<Event> {
    let id = |name| child(node, name).and_then(|id| id.attribute("Id")).map(source_id).transpose();
    Ok(Event {
        kind: node.tag_name().name().to_owned(),
        watermark: text_of(node, "Watermark"),
        time: text_of(node, "TimeStamp"),
        item: id("ItemId")?,
        folder: id("FolderId")?,
        parent: id("ParentFolderId")?,
        old: id("OldItemId")?.or(id("OldFolderId")?),
        old_parent: id("OldParentFolderId")?,
        unread: text_of(node, "UnreadCount").map(|text| text.parse()).transpose()?,
    })
}

/// What the source of changes calls an item or folder whose id clients see: base64 of the account's id, a zero byte, `i`
/// or `f`, and this. The root, which no source names, is `root` here.
pub fn source_id(id: &str) -> Result<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(id).with_context(|| format!("an id: {id:?}"))?;
    let text = String::from_utf8(bytes)?;
    let named = text.split_once('\0').and_then(|(_, rest)| rest.strip_prefix(['i', 'f']));
    let named = named.with_context(|| format!("an id: {text:?}"))?;
    Ok(if named.is_empty() { "root".into() } else { named.into() })
}

/// The id that clients see of an item of this account that the source of changes calls so.
pub fn item_id(account: &str, item: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{account}\0i{item}"))
}

/// The id that clients see of a folder of this account that the source of changes calls so.
pub fn folder_id(account: &str, folder: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{account}\0f{folder}"))
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn text_of(node: Node, name: &str) -> Option<String> {
    child(node, name).map(|child| child.text().unwrap_or_default().to_owned())
}

fn texts(node: Node) -> Vec<String> {
    node.children().filter_map(|child| child.text().map(str::to_owned)).collect()
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.kind)?;
        let unread = self.unread.map(|unread| unread.to_string());
        let facts = [
            ("item", &self.item),
            ("folder", &self.folder),
            ("in", &self.parent),
            ("was", &self.old),
            ("was-in", &self.old_parent),
            ("unread", &unread),
            ("at", &self.time),
        ];
        facts
            .iter()
            .filter_map(|(name, fact)| Some((name, fact.as_ref()?)))
            .try_for_each(|(n, fact)| write!(f, " {n}={fact}"))
    }
}
