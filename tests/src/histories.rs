//! Random histories of a tenant: changes, requests good and bad, settlements, time. Each follows from its seed alone.

mod groupwise;

use std::collections::BTreeMap;

use postbell::contract::changes::{
    AccessChange, Account, AccountChanges, Batch, Change, Folder, FolderCounts, FolderRelocation, Happening, Item,
    ItemAlteration, ItemRelocation, Tag,
};
use postbell::contract::lifecycle::Restart;
use postbell::contract::outbound::{Outcome, Response};
use postbell::contract::requests::{Access, End, Grant, Rank, Request, RequestHead, Settlement};
use postbell::contract::types::{Moment, Reaction};
use postbell::journal::Input;

use crate::zimbra;

/// SplitMix64: enough for tests, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of these.
    pub fn pick_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// One of these.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A tenant's past, as far as its inputs depend on it.
#[derive(Clone, Debug)]
pub struct History {
    random: Random,
    moment: Moment,
    requests: u64,
    subscriptions: Vec<String>,
    watermarks: Vec<String>,
    /// WaitSets, and the sequence numbers that were given for any.
    sets: Vec<String>,
    seqs: Vec<String>,
    /// Open requests, with how many confirmed parts were sent and how many were settled.
    open: BTreeMap<u64, (u32, u32)>,
    /// Calls that have not ended.
    calls: Vec<u64>,
}

const ACCOUNTS: [&str; 3] = ["alice@example.org", "bob@example.org", "carol@example.org"];
const FOLDERS: [&str; 5] = ["inbox", "drafts", "sentitems", "Projects", "Projects/Sub"];

impl History {
    /// The history that `seed` stands for.
    pub fn new(seed: u64) -> History {
        History {
            random: Random(seed),
            moment: Moment { now: 1_795_296_510_624, sequence: 1 },
            requests: 0,
            subscriptions: vec!["unknown".into()],
            watermarks: vec!["unknown".into()],
            sets: vec!["unknown".into()],
            seqs: vec!["0".into()],
            open: BTreeMap::new(),
            calls: Vec::new(),
        }
    }

    /// The first input.
    pub fn open(&mut self) -> (Moment, Input) {
        let settings = vec![("domains".to_owned(), "example.org".to_owned())];
        (self.moment, Input::Open { seed: (0..32).map(|_| self.random.next() as u8).collect(), settings })
    }

    /// The next input.
    pub fn next_input(&mut self) -> (Moment, Input) {
        self.moment.now += match self.random.below(10) {
            0 => self.random.below(90_000),
            1..4 => self.random.below(2_000),
            _ => 0,
        };
        let input = match self.random.below(100) {
            0..45 => Input::Ingest { batch: self.batch(), span: None, skipped: None },
            45..80 => Input::Answer(Box::new(self.request())),
            80..88 => Input::Settled(self.settlements()),
            88..92 if self.calls.is_empty() => Input::Settled(self.settlements()),
            88..92 => self.finished(),
            92..97 => Input::Tick,
            97 => {
                let seconds = self.random.below(3) + 24;
                let heartbeat = ("ews-heartbeat-seconds".to_owned(), seconds.to_string());
                Input::Configure { settings: vec![("domains".into(), "example.org".into()), heartbeat] }
            }
            98 => {
                self.open.clear();
                self.calls.clear();
                let regressed = self.random.below(4) == 0;
                Input::Restarted(Restart { down_ms: self.random.below(100_000), regressed })
            }
            _ => Input::Drain,
        };
        (self.moment, input)
    }

    /// What came of the last input: ids to use, requests that are open.
    pub fn heard(&mut self, reaction: &Reaction) {
        self.moment.sequence += u64::from(reaction.changed);
        self.calls.extend(reaction.calls.iter().map(|call| call.id));
        for reply in &reaction.replies {
            let text = String::from_utf8_lossy(&reply.body);
            remember(&mut self.subscriptions, &text, "SubscriptionId>");
            remember(&mut self.watermarks, &text, "Watermark>");
            let known = |known: &mut Vec<String>, name: &str| {
                let value = zimbra::attribute(&text, name).filter(|value| !known.iter().any(|it| it == value));
                known.extend(value.map(str::to_owned));
            };
            known(&mut self.sets, "waitSet");
            known(&mut self.seqs, "seq");
            let parts = self.open.entry(reply.to).or_default();
            parts.0 += u32::from(reply.confirm);
            if !reply.more && parts.0 == 0 {
                self.open.remove(&reply.to);
            }
        }
    }

    fn finished(&mut self) -> Input {
        let call = self.calls.swap_remove(self.random.below(self.calls.len() as u64) as usize);
        let says = |status: &str| {
            format!(
                "<Envelope><Body><SendNotificationResult><SubscriptionStatus>{status}</SubscriptionStatus></SendNotificationResult></Body></Envelope>"
            )
        };
        let answered = |status: u16, body: String| Outcome::Answered(Response { status, body: body.into_bytes() });
        let outcome = match self.random.below(10) {
            0 => answered(200, says("Unsubscribe")),
            1 => answered(500, says("OK")),
            2 => answered(200, "<OK".into()),
            3 => Outcome::Failed("connection refused".into()),
            4 if self.random.below(2) == 0 => Outcome::Refused("not allowed".into()),
            _ => answered(200, says("OK")),
        };
        Input::Finished { call, outcome }
    }

    fn batch(&mut self) -> Batch {
        let accounts = (0..=self.random.below(2)).map(|_| {
            let account = match self.random.below(20) {
                0 => "zoe@elsewhere.example",
                1 => "new@example.org",
                _ => self.random.pick(&ACCOUNTS),
            };
            let changes = (0..=self.random.below(4)).map(|_| self.change()).collect();
            AccountChanges { account: account.into(), changes }
        });
        let accounts = accounts.collect();
        Batch { accounts, book: self.book() }
    }

    fn change(&mut self) -> Change {
        let item = self.item();
        let counts = if self.random.below(2) == 0 {
            let unread = self.random.below(5) as u32;
            vec![FolderCounts { folder: item.folder.clone(), unread, total: unread + 3, revision: None }]
        } else {
            vec![]
        };
        let what = self.happening(item);
        Change { number: None, at: self.moment.now - self.random.below(3), origin: None, counts, what }
    }

    fn happening(&mut self, item: Item) -> Happening {
        let after = Item { folder: self.random.pick(&FOLDERS).into(), ..item.clone() };
        match self.random.below(30) {
            0..14 => Happening::MessageDelivered(item),
            14 | 15 => Happening::ItemCreated(item),
            16..19 => Happening::ItemModified(ItemAlteration {
                item,
                flags_before: Some(0),
                tags_before: None,
                fields: vec!["flags".into()],
            }),
            19 | 20 => Happening::ItemDeleted(item),
            21 => Happening::ItemMoved(ItemRelocation { before: item, after }),
            22 => Happening::ItemCopied(ItemRelocation { before: item, after }),
            23 => Happening::FolderCreated(self.folder()),
            24 => Happening::FolderDeleted(self.folder()),
            25 => Happening::FolderMoved(FolderRelocation { before: self.folder(), after: self.folder() }),
            26 => Happening::FreeBusyChanged(item),
            27 => Happening::Baseline(vec![self.folder(), self.folder()]),
            28 => match self.random.below(5) {
                0 => Happening::Gap,
                1 => Happening::Hinted(vec!["message".into()]),
                2 => Happening::TagModified(Tag { id: "7".into(), name: "Work".into() }),
                3 => Happening::AccessChanged(AccessChange { kind: "removed".into(), who: String::new() }),
                _ => Happening::AccountAvailable,
            },
            _ => Happening::AccountClosed,
        }
    }

    fn item(&mut self) -> Item {
        let id = if self.random.below(50) == 0 { String::new() } else { format!("m<{}>", self.random.below(40)) };
        Item {
            kind: self.random.pick(&["message", "message", "message", "contact", "note"]).into(),
            id,
            folder: self.random.pick(&FOLDERS).into(),
            number: (self.random.below(2) == 0).then_some(300 + self.moment.sequence),
            imap_uid: None,
            revision: (self.random.below(2) == 0).then_some(self.moment.sequence),
            flags: self.random.below(4),
            tags: vec![],
        }
    }

    fn folder(&mut self) -> Folder {
        let id = self.random.pick(&FOLDERS);
        Folder {
            id: id.into(),
            parent: String::new(),
            name: id.into(),
            role: if self.random.below(2) == 0 { id.into() } else { String::new() },
            holds: "message".into(),
            number: None,
            revision: None,
            unread: Some(self.random.below(3) as u32),
            total: None,
        }
    }

    fn request(&mut self) -> Request {
        match self.random.below(4) {
            0 => return self.zimbra_request(),
            1 => return self.groupwise_request(),
            _ => {}
        }
        let mut body = match self.random.below(12) {
            0..2 => subscribe_streaming(),
            2..4 => subscribe_pull(self.random.pick(&["inbox", "drafts", "notes"])),
            4..8 => get_events(&self.subscription(), &self.watermark()),
            8..10 => get_streaming_events(&self.subscription(), &self.subscription(), 1 + self.random.below(3)),
            10 => unsubscribe(&self.subscription()),
            11 if self.random.below(4) == 0 => envelope("<m:Other/>"),
            _ => subscribe_push(self.random.pick(&["http://listener.example/", "http://10.0.0.1/", "ftp://x/"])),
        };
        match self.random.below(20) {
            0 => body.truncate(self.random.below(body.len() as u64) as usize),
            1 => body = body.replace("m:", ["x:", "", "m:m:"][self.random.below(3) as usize]),
            _ => {}
        }
        self.requests += 1;
        self.open.insert(self.requests, (0, 0));
        request(self.requests, self.random.pick(&ACCOUNTS), body)
    }

    /// By users and by an administrator, some in JSON, some of them cut off.
    fn zimbra_request(&mut self) -> Request {
        let account = *self.random.pick_of(&ACCOUNTS);
        let (rank, login) =
            if self.random.below(2) == 0 { (Rank::Administrator, "admin@example.org") } else { (Rank::User, account) };
        let types = self.random.pick(&["all", "f", "m", "m,c", "f,m"]);
        let (set, seq) = (self.wait_set(), self.seq());
        let folders = self.random.pick(&["", "2", "2,257", "258"]);
        let token = self.random.below(40);
        let member = match self.random.below(3) {
            0 => format!("<a id=\"{account}\" types=\"{types}\" folderInterests=\"{folders}\"/>"),
            1 => format!("<a id=\"{account}\" token=\"{token}\"/>"),
            _ => format!("<a id=\"{account}\"/>"),
        };
        let content = match self.random.below(8) {
            0 | 1 => format!("<add>{member}</add>"),
            2 => format!("<update>{member}</update>"),
            3 => format!("<remove>{member}</remove>"),
            _ => String::new(),
        };
        let names = !content.is_empty();
        let operation = match self.random.below(20) {
            0..3 => zimbra::create(types, "", &[account]),
            3 => zimbra::create(types, "allAccounts=\"1\"", &[]),
            4..10 => zimbra::wait(&set, &seq, "block=\"1\" timeout=\"40\" expand=\"1\"", &content),
            10..17 => zimbra::wait(&set, &seq, "expand=\"1\" defTypes=\"m\"", &content),
            17 => zimbra::destroy(&set),
            18 => zimbra::query(),
            _ => format!(
                "<BatchRequest xmlns=\"urn:zimbra\">{}{}</BatchRequest>",
                zimbra::destroy(&set),
                zimbra::create(types, "", &[account])
            ),
        };
        let named: &[&str] = if names || operation.contains("<add>") { &[account] } else { &[] };
        let mut body = zimbra::soap("*", &operation);
        match self.random.below(12) {
            0 => body.truncate(self.random.below(body.len() as u64) as usize),
            1 => body = body.replace("<nosession/>", "<format type=\"js\"/>"),
            2 => body = zimbra_json(&set, &seq),
            _ => {}
        }
        self.requests += 1;
        self.open.insert(self.requests, (0, 0));
        zimbra::request(self.requests, login, rank, body, named)
    }

    fn wait_set(&mut self) -> String {
        let back = self.random.below(self.sets.len().min(6) as u64) as usize;
        self.sets[self.sets.len() - 1 - back].clone()
    }

    fn seq(&mut self) -> String {
        let back = self.random.below(self.seqs.len().min(6) as u64) as usize;
        self.seqs[self.seqs.len() - 1 - back].clone()
    }

    fn subscription(&mut self) -> String {
        self.subscriptions[self.random.below(self.subscriptions.len() as u64) as usize].clone()
    }

    /// Mostly one of the latest.
    fn watermark(&mut self) -> String {
        let back = self.random.below(self.watermarks.len().min(8) as u64) as usize;
        self.watermarks[self.watermarks.len() - 1 - back].clone()
    }

    fn settlements(&mut self) -> Vec<Settlement> {
        let requests: Vec<u64> = self.open.keys().copied().collect();
        let mut settlements = Vec::new();
        for request in requests {
            if self.random.below(3) > 0 {
                continue;
            }
            let (sent, settled) = &mut self.open.get_mut(&request).expect("it is one of them");
            *settled += self.random.below(u64::from(*sent - *settled) + 1) as u32;
            let parts = *settled;
            let end = match self.random.below(8) {
                0 => Some(End::Gone),
                1 => Some(End::ClosedByHost),
                2 if *sent == parts => Some(End::Complete),
                _ => None,
            };
            if end.is_some() {
                self.open.remove(&request);
            }
            settlements.push(Settlement { request, parts, end });
        }
        settlements
    }
}

fn zimbra_json(set: &str, seq: &str) -> String {
    format!(
        r#"{{"Header":{{"context":{{"authToken":"*"}}}},"Body":{{"WaitSetRequest":{{"_jsns":"urn:zimbraMail","waitSet":"{set}","seq":"{seq}","block":1}}}}}}"#
    )
}

fn remember(known: &mut Vec<String>, text: &str, tag: &str) {
    for found in text.split(tag).skip(1).step_by(2) {
        let value = found.split('<').next().unwrap_or_default();
        if !value.is_empty() && !known.iter().any(|it| it == value) {
            known.push(value.into());
        }
    }
}

/// A request to EWS as `login`, who is known and may do what users may.
pub fn request(id: u64, login: &str, body: String) -> Request {
    Request {
        id,
        head: RequestHead {
            method: "POST".into(),
            path: "/EWS/Exchange.asmx".into(),
            query: String::new(),
            content_type: "text/xml; charset=utf-8".into(),
            headers: vec![],
            secure: false,
        },
        body: body.into_bytes(),
        access: Access::Granted(Grant {
            account: Account { id: login.into(), name: login.into(), aliases: vec![] },
            rank: Rank::User,
            visit: "v1".into(),
            token_placeholder: None,
            token_lifetime_ms: 0,
        }),
        act_as: None,
        accounts: vec![],
    }
}

/// A SOAP envelope around an operation of EWS.
pub fn envelope(operation: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><s:Header><t:RequestServerVersion \
         Version=\"Exchange2016\"/></s:Header><s:Body>{operation}</s:Body></s:Envelope>"
    )
}

const EVENT_TYPES: &str = "<t:EventTypes><t:EventType>CopiedEvent</t:EventType><t:EventType>CreatedEvent</t:EventType>\
     <t:EventType>DeletedEvent</t:EventType><t:EventType>ModifiedEvent</t:EventType><t:EventType>MovedEvent\
     </t:EventType><t:EventType>NewMailEvent</t:EventType></t:EventTypes>";

/// Subscribe, streaming, to all folders.
pub fn subscribe_streaming() -> String {
    envelope(&format!(
        "<m:Subscribe><m:StreamingSubscriptionRequest SubscribeToAllFolders=\"true\">{EVENT_TYPES}\
         </m:StreamingSubscriptionRequest></m:Subscribe>"
    ))
}

/// Subscribe, pull, to one distinguished folder.
pub fn subscribe_pull(folder: &str) -> String {
    envelope(&format!(
        "<m:Subscribe><m:PullSubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id=\"{folder}\"/></t:FolderIds>\
         {EVENT_TYPES}<t:Timeout>10</t:Timeout></m:PullSubscriptionRequest></m:Subscribe>"
    ))
}

/// Subscribe, push, to all folders.
pub fn subscribe_push(url: &str) -> String {
    envelope(&format!(
        "<m:Subscribe><m:PushSubscriptionRequest SubscribeToAllFolders=\"true\">{EVENT_TYPES}\
         <t:StatusFrequency>1</t:StatusFrequency><t:URL>{url}</t:URL></m:PushSubscriptionRequest></m:Subscribe>"
    ))
}

/// GetEvents.
pub fn get_events(subscription: &str, watermark: &str) -> String {
    envelope(&format!(
        "<m:GetEvents><m:SubscriptionId>{subscription}</m:SubscriptionId><m:Watermark>{watermark}</m:Watermark>\
         </m:GetEvents>"
    ))
}

/// GetStreamingEvents for two subscriptions.
pub fn get_streaming_events(first: &str, second: &str, minutes: u64) -> String {
    envelope(&format!(
        "<m:GetStreamingEvents><m:SubscriptionIds><t:SubscriptionId>{first}</t:SubscriptionId><t:SubscriptionId>{second}\
         </t:SubscriptionId></m:SubscriptionIds><m:ConnectionTimeout>{minutes}</m:ConnectionTimeout>\
         </m:GetStreamingEvents>"
    ))
}

/// Unsubscribe.
pub fn unsubscribe(subscription: &str) -> String {
    envelope(&format!("<m:Unsubscribe><m:SubscriptionId>{subscription}</m:SubscriptionId></m:Unsubscribe>"))
}

/// A message that arrives in somebody's inbox.
pub fn delivery(account: &str, id: &str, at: u64) -> Batch {
    let item = Item {
        kind: "message".into(),
        id: id.into(),
        folder: "inbox".into(),
        number: None,
        imap_uid: None,
        revision: None,
        flags: 0,
        tags: vec![],
    };
    let what = Happening::MessageDelivered(item);
    let change = Change { number: None, at, origin: None, counts: vec![], what };
    Batch { accounts: vec![AccountChanges { account: account.into(), changes: vec![change] }], book: vec![] }
}
