//! A tenant to play with: it keeps time, numbers requests and inputs, and reads like what happens.

use postbell_notify::Notify;
use postbell_notify::contract::*;

pub const SEED: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";

/// 2026-08-22T10:00:00Z.
pub const START: u64 = 1_787_392_800_000;

pub struct World {
    pub notify: Notify,
    pub now: u64,
    pub sequence: u64,
    pub requests: u64,
    /// Standing of the caller to every account but its own.
    pub standing: Standing,
}

/// A reaction, with the request that was answered.
pub struct Answer {
    pub request: u64,
    pub reaction: Reaction,
}

impl World {
    /// With the account alice@example.org and the folders inbox, drafts and calendar.
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(settings: &[(&str, &str)]) -> Self {
        let mut world = Self::empty(settings);
        let folders = ["inbox", "drafts", "calendar"].map(folder).to_vec();
        world.happens(Happening::Baseline(folders));
        world
    }

    /// Without accounts.
    pub fn empty(settings: &[(&str, &str)]) -> Self {
        let mut pairs = vec![("domains".to_owned(), "example.org".to_owned())];
        pairs.extend(settings.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        let mut notify = Notify::default();
        let at = Moment { now: START, sequence: 0 };
        notify.open(at, &SEED, &pairs).expect("the settings are valid");
        Self { notify, now: START, sequence: 0, requests: 0, standing: Standing::Forbidden }
    }

    pub fn at(&mut self) -> Moment {
        self.sequence += 1;
        Moment { now: self.now, sequence: self.sequence }
    }

    pub fn wait(&mut self, ms: u64) -> Reaction {
        self.now += ms;
        let at = self.at();
        self.notify.tick(at)
    }

    pub fn happens(&mut self, what: Happening) -> Reaction {
        self.changes("alice@example.org", vec![change(self.now, what)])
    }

    pub fn changes(&mut self, account: &str, changes: Vec<Change>) -> Reaction {
        let at = self.at();
        let accounts = vec![AccountChanges { account: account.into(), changes }];
        self.notify.ingest(at, Batch { accounts, book: Vec::new() })
    }

    /// Alice sends a request.
    pub fn post(&mut self, body: &str) -> Answer {
        self.post_as("alice@example.org", body)
    }

    pub fn post_as(&mut self, login: &str, body: &str) -> Answer {
        let request = self.request(login, body);
        let (id, at) = (request.id, self.at());
        let reaction = self.notify.answer(at, &request);
        keep(&reaction, id);
        Answer { request: id, reaction }
    }

    pub fn request(&mut self, login: &str, body: &str) -> Request {
        self.requests += 1;
        let claims = postbell_notify::identify(&RequestHead::default(), body.as_bytes());
        let resolve = |named: AccountName| {
            let (AccountName::Name(name)
            | AccountName::Id(name)
            | AccountName::Address(name)
            | AccountName::PrincipalName(name)
            | AccountName::Sid(name)) = named;
            let standing = if name == login { Standing::Itself } else { self.standing };
            let known = !matches!(standing, Standing::Unknown);
            Resolution { account: known.then(|| account(&name)), standing }
        };
        Request {
            id: self.requests,
            head: RequestHead { method: "POST".into(), path: "/EWS/Exchange.asmx".into(), ..RequestHead::default() },
            body: body.as_bytes().to_vec(),
            access: Access::Granted(Grant {
                account: account(login),
                rank: Rank::User,
                visit: "visit".into(),
                token_placeholder: None,
                token_lifetime_ms: 0,
            }),
            act_as: claims.act_as.map(resolve),
            accounts: claims.accounts.into_iter().map(resolve).collect(),
        }
    }

    pub fn settle(&mut self, request: u64, parts: u32, end: Option<End>) -> Reaction {
        let at = self.at();
        self.notify.settled(at, &[Settlement { request, parts, end }])
    }

    /// A streaming subscription to everything; its id.
    pub fn streaming(&mut self) -> String {
        let answer = self.post(&subscribe_streaming(""));
        element(&answer.body(), "SubscriptionId")
    }

    /// A pull subscription to everything; its id and watermark.
    pub fn pull(&mut self) -> (String, String) {
        let answer = self.post(&subscribe_pull("", 10));
        (element(&answer.body(), "SubscriptionId"), element(&answer.body(), "Watermark"))
    }

    /// A call has ended.
    pub fn finish(&mut self, call: u64, outcome: Outcome) -> Reaction {
        let at = self.at();
        self.notify.finished(at, call, outcome)
    }

    pub fn gauge(&self, name: &str, label: &str) -> f64 {
        let gauges = self.notify.inspect();
        let fits = |gauge: &&Gauge| gauge.name == name && gauge.labels.iter().all(|(_, value)| value == label);
        gauges.iter().find(fits).expect("there is such a gauge").value
    }

    pub fn saved(&mut self) -> Vec<Vec<u8>> {
        (0..).map_while(|part| self.notify.save(part)).collect()
    }
}

impl Answer {
    /// The body of the only part.
    pub fn body(&self) -> String {
        assert_eq!(self.reaction.replies.len(), 1, "{:?}", texts(&self.reaction));
        text(&self.reaction.replies[0])
    }

    pub fn status(&self) -> u16 {
        self.reaction.replies[0].status
    }
}

/// The logic after what it saves was loaded.
pub fn loaded(world: &mut World) -> Notify {
    let (saved, mut notify) = (world.saved(), Notify::default());
    for (number, part) in (1..).zip(&saved) {
        notify.load(&postbell_notify::describe().state_formats[0], part, number < saved.len()).expect("it was saved");
    }
    notify
}

pub fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).expect("answers are UTF-8")
}

pub fn texts(reaction: &Reaction) -> Vec<String> {
    reaction.replies.iter().map(text).collect()
}

/// What a stream's parts say, in short: `r1 OK`, `r1 [id] Created item:m1@inbox ...`, `r1 Closed.` (final).
pub fn said(reaction: &Reaction) -> Vec<String> {
    reaction.replies.iter().map(said_one).collect()
}

fn said_one(reply: &Reply) -> String {
    let body = text(reply);
    let document = roxmltree::Document::parse(&body).expect("answers are well-formed");
    let mut said = format!("r{}", reply.to);
    for node in document.descendants() {
        match node.tag_name().name() {
            "ConnectionStatus" | "ResponseCode" if node.text() != Some("NoError") => {
                said = format!("{said} {}", node.text().unwrap_or_default());
            }
            "SubscriptionId" => said = format!("{said} [{}]", &node.text().unwrap_or_default()[..4]),
            name if name.ends_with("Event") => said = format!("{said} {}", event(node)),
            _ => {}
        }
    }
    if reply.confirm {
        said.push('!');
    }
    if !reply.more {
        said.push('.');
    }
    said
}

/// The events in an answer, one line each.
pub fn events(body: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(body).expect("answers are well-formed");
    let is_event = |node: &roxmltree::Node<'_, '_>| node.tag_name().name().ends_with("Event");
    document.descendants().filter(is_event).map(event).collect()
}

fn event(node: roxmltree::Node<'_, '_>) -> String {
    let mut said = node.tag_name().name().trim_end_matches("Event").to_owned();
    for child in node.children() {
        match child.tag_name().name() {
            name if name.ends_with("Id") => {
                let prefix = if name.starts_with("Old") { "<-" } else { "" };
                let place = if name.ends_with("ParentFolderId") { "@" } else { "" };
                let space = if place.is_empty() { " " } else { "" };
                said = format!("{said}{space}{}{place}{}", if place.is_empty() { prefix } else { "" }, unpacked(child));
            }
            "UnreadCount" => said = format!("{said} unread={}", child.text().unwrap_or_default()),
            _ => {}
        }
    }
    said
}

fn unpacked(node: roxmltree::Node<'_, '_>) -> String {
    let id = decode(node.attribute("Id").unwrap_or_default());
    let id = String::from_utf8(id).expect("ids are UTF-8");
    let (_, id) = id.split_once('\0').expect("an id has an account");
    if id == "f" { "root".into() } else { id[1..].to_owned() }
}

fn decode(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = text.chars().flat_map(|letter| {
        let value = LETTERS.find(letter).expect("an id is base64url");
        (0..6).rev().map(move |bit| (value >> bit & 1) as u8)
    });
    let bits: Vec<u8> = bits.collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit)).collect()
}

/// What a client says to a notification.
pub fn listener_says(status: &str) -> Outcome {
    let body = envelope(&format!(
        "<m:SendNotificationResult><m:SubscriptionStatus>{status}</m:SubscriptionStatus></m:SendNotificationResult>"
    ));
    Outcome::Answered(Response { status: 200, body: body.into_bytes() })
}

/// The body of the only call.
pub fn pushed(reaction: &Reaction) -> String {
    assert_eq!(reaction.calls.len(), 1);
    String::from_utf8(reaction.calls[0].body.clone()).expect("calls are UTF-8")
}

/// The text of the first element with this local name.
pub fn element(body: &str, name: &str) -> String {
    let document = roxmltree::Document::parse(body).expect("answers are well-formed");
    let node = document.descendants().find(|node| node.tag_name().name() == name);
    let node = node.unwrap_or_else(|| panic!("no {name} in {body}"));
    node.text().unwrap_or_default().to_owned()
}

pub fn code(body: &str) -> String {
    element(body, "ResponseCode")
}

pub fn account(name: &str) -> Account {
    Account { id: name.into(), name: name.into(), aliases: Vec::new() }
}

pub fn change(at: u64, what: Happening) -> Change {
    Change { number: None, at, origin: None, counts: Vec::new(), what }
}

pub fn counted(at: u64, what: Happening, counts: &[(&str, u32)]) -> Change {
    let count = |(folder, unread): &(&str, u32)| FolderCounts {
        folder: folder.to_string(),
        unread: *unread,
        total: 9,
        revision: None,
    };
    Change { counts: counts.iter().map(count).collect(), ..change(at, what) }
}

pub fn folder(id: &str) -> Folder {
    Folder { id: id.into(), name: id.into(), ..Folder::default() }
}

pub fn item(folder: &str, id: &str) -> Item {
    Item { kind: "message".into(), id: id.into(), folder: folder.into(), ..Item::default() }
}

pub fn delivered(folder: &str, id: &str) -> Happening {
    Happening::MessageDelivered(item(folder, id))
}

pub fn moved(from: (&str, &str), to: (&str, &str)) -> Happening {
    Happening::ItemMoved(ItemRelocation { before: item(from.0, from.1), after: item(to.0, to.1) })
}

pub fn envelope(operation: &str) -> String {
    format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"
 xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Body>{operation}</s:Body></s:Envelope>"#
    )
}

pub const KINDS: &str = "<t:EventTypes><t:EventType>CopiedEvent</t:EventType><t:EventType>CreatedEvent</t:EventType>\
<t:EventType>DeletedEvent</t:EventType><t:EventType>ModifiedEvent</t:EventType><t:EventType>MovedEvent</t:EventType>\
<t:EventType>NewMailEvent</t:EventType><t:EventType>FreeBusyChangedEvent</t:EventType></t:EventTypes>";

pub fn folder_ids(folders: &str) -> String {
    if folders.is_empty() { String::new() } else { format!("<t:FolderIds>{folders}</t:FolderIds>") }
}

pub fn named(folder: &str) -> String {
    format!(r#"<t:DistinguishedFolderId Id="{folder}"/>"#)
}

pub fn of_other(folder: &str, mailbox: &str) -> String {
    format!(
        r#"<t:DistinguishedFolderId Id="{folder}"><t:Mailbox><t:EmailAddress>{mailbox}</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>"#
    )
}

pub fn subscribe_streaming(folders: &str) -> String {
    let folders = folder_ids(folders);
    envelope(&format!(
        "<m:Subscribe><m:StreamingSubscriptionRequest>{folders}{KINDS}</m:StreamingSubscriptionRequest></m:Subscribe>"
    ))
}

pub fn subscribe_pull(folders: &str, minutes: u32) -> String {
    let (folders, timeout) = (folder_ids(folders), format!("<t:Timeout>{minutes}</t:Timeout>"));
    envelope(&format!(
        "<m:Subscribe><m:PullSubscriptionRequest>{folders}{KINDS}{timeout}</m:PullSubscriptionRequest></m:Subscribe>"
    ))
}

/// A push subscription; `rest` stands between the kinds and the URL.
pub fn subscribe_push(folders: &str, rest: &str, url: &str) -> String {
    let folders = folder_ids(folders);
    envelope(&format!(
        "<m:Subscribe><m:PushSubscriptionRequest>{folders}{KINDS}{rest}<t:URL>{url}</t:URL>\
</m:PushSubscriptionRequest></m:Subscribe>"
    ))
}

pub fn frequency(minutes: u32) -> String {
    format!("<t:StatusFrequency>{minutes}</t:StatusFrequency>")
}

pub fn resubscribe_pull(watermark: &str) -> String {
    let rest = format!("<t:Watermark>{watermark}</t:Watermark><t:Timeout>10</t:Timeout>");
    envelope(&format!(
        "<m:Subscribe><m:PullSubscriptionRequest>{KINDS}{rest}</m:PullSubscriptionRequest></m:Subscribe>"
    ))
}

pub fn get_events(id: &str, watermark: &str) -> String {
    envelope(&format!(
        "<m:GetEvents><m:SubscriptionId>{id}</m:SubscriptionId><m:Watermark>{watermark}</m:Watermark></m:GetEvents>"
    ))
}

pub fn get_streaming_events(ids: &[&str], minutes: u32) -> String {
    let ids: String = ids.iter().map(|id| format!("<t:SubscriptionId>{id}</t:SubscriptionId>")).collect();
    envelope(&format!(
        "<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds><m:ConnectionTimeout>{minutes}\
</m:ConnectionTimeout></m:GetStreamingEvents>"
    ))
}

pub fn unsubscribe(id: &str) -> String {
    envelope(&format!("<m:Unsubscribe><m:SubscriptionId>{id}</m:SubscriptionId></m:Unsubscribe>"))
}

/// Where `POSTBELL_ANSWERS` names a folder, every answer is written there, to be judged by the published schema.
fn keep(reaction: &Reaction, request: u64) {
    let Ok(folder) = std::env::var("POSTBELL_ANSWERS") else {
        return;
    };
    let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
    for (number, reply) in reaction.replies.iter().enumerate() {
        let kind = if reply.body.starts_with(b"<Envelope") { "stream" } else { "plain" };
        let file = format!("{folder}/{kind}-{test}-{request}-{number}.xml");
        std::fs::write(file, &reply.body).expect("the folder can be written to");
    }
}
