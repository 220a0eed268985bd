//! GroupWise in random histories: changes of the address book, and what sessions ask that are there or not.

use postbell::contract::changes::{BookChange, Entry, Field, Member};
use postbell::contract::requests::{Access, Denial, Rank, Request};

use super::{ACCOUNTS, History};
use crate::groupwise::{BOOK, login, on_book, request, soap};

/// How many entries the book has at most.
const ENTRIES: u64 = 30;

/// Fields, with a value that fits and one that does not.
const FIELDS: [(&str, &str, &str); 10] = [
    ("name", "Ann & Bob", ""),
    ("modified", "2026-08-22T10:00:01Z", "yesterday"),
    ("visibility", "Domain", "everybody"),
    ("external", "1", "perhaps"),
    ("fullName/displayName", "Ann <of the board>", ""),
    ("emailList/email", "ann@example.org", ""),
    ("phoneList/phone", "+1 202 555 0101", "\u{1}"),
    ("addressList/address/city", "Provo", ""),
    ("owner", "Bob", ""),
    ("no/such/field", "x", ""),
];

impl History {
    /// What happened in the address book; mostly nothing.
    pub(super) fn book(&mut self) -> Vec<BookChange> {
        if self.random.below(4) > 0 {
            return Vec::new();
        }
        (0..=self.random.below(4)).map(|_| self.book_change()).collect()
    }

    fn book_change(&mut self) -> BookChange {
        match self.random.below(20) {
            0..10 => BookChange::Added(self.entry()),
            10..14 => BookChange::Modified(self.entry()),
            14..17 => BookChange::Deleted(self.entry_id()),
            17 => BookChange::Gap,
            18 => BookChange::RebuildStarted,
            _ => BookChange::RebuildFinished,
        }
    }

    fn entry(&mut self) -> Entry {
        let fields = (0..self.random.below(5)).map(|_| {
            let (name, good, odd) = *self.random.pick_of(&FIELDS);
            let label = self.random.pick(&["", "Office", "e1", "nonsense"]);
            Field { name: name.into(), label: label.into(), value: self.random.pick(&[good, good, odd]).into() }
        });
        let fields = fields.collect();
        let members = (0..self.random.below(3)).map(|_| Member {
            id: self.entry_id(),
            name: "Ann".into(),
            email: String::new(),
            kind: self.random.pick(&["", "cc", "whom"]).into(),
        });
        let members = members.collect();
        let kind = self.random.pick(&["contact", "contact", "group", "resource", "organization", "robot"]);
        Entry { id: self.entry_id(), uuid: None, kind: kind.into(), fields, members }
    }

    fn entry_id(&mut self) -> String {
        format!("e{}", self.random.below(ENTRIES))
    }

    /// Of sessions that are there, that are not, and of none.
    pub(super) fn groupwise_request(&mut self) -> Request {
        self.requests += 1;
        self.open.insert(self.requests, (0, 0));
        let visit = format!("visit-{}", self.random.below(8));
        let account = *self.random.pick_of(&ACCOUNTS);
        if self.random.below(5) == 0 {
            let granted = request(self.requests, account, Rank::User, &visit, login(account, "*"));
            return if self.random.below(4) == 0 { denied(granted, Denial::WrongSecret) } else { granted };
        }
        let mut body = self.operation();
        if self.random.below(20) == 0 {
            body.truncate(self.random.below(body.len() as u64) as usize);
        }
        let granted = request(self.requests, account, Rank::User, &visit, body);
        match self.random.below(12) {
            0 => denied(granted, Denial::UnknownToken),
            1 => denied(granted, Denial::Missing),
            _ => granted,
        }
    }

    fn operation(&mut self) -> String {
        let (cursor, count) = (1 + self.random.below(4), self.random.below(12));
        let view = self.random.pick(&["", "<view>name email sync</view>", "<view>default</view>"]);
        let cursor = format!("<cursor>{cursor}</cursor><count>{count}</count>");
        match self.random.below(20) {
            14..20 => self.events_operation(),
            0 | 1 => on_book("*", "getDeltaInfo", ""),
            2..5 => {
                let count = self.random.pick(&["", "<count>-1</count>", "<count>100</count>", "<count>-2</count>"]);
                let first = self.random.below(60);
                let info = format!("<deltaInfo><firstSequence>{first}.000000</firstSequence>{count}</deltaInfo>");
                on_book("*", "getDeltas", &format!("{view}{info}"))
            }
            5 => on_book("*", "getItems", view),
            6 => soap("*", &format!("<getItemRequest><id>{}@56:{BOOK}</id></getItemRequest>", self.entry_id())),
            7 => on_book("*", "createCursor", view),
            8 | 9 => on_book("*", "readCursor", &cursor),
            10 => on_book("*", "positionCursor", &format!("{cursor}<seek>end</seek><offset>-{count}</offset>")),
            11 => on_book("*", "destroyCursor", &cursor),
            12 => soap("*", "<getAddressBookListRequest/>"),
            _ if self.random.below(3) == 0 => soap("*", "<logoutRequest/>"),
            _ => soap("*", "<getTimestampRequest><noop>1</noop></getTimestampRequest>"),
        }
    }

    /// Events: configured with and without a listener, read, removed.
    fn events_operation(&mut self) -> String {
        let key = format!("<key>k{}</key>", self.random.below(3));
        let operation = match self.random.below(10) {
            0..4 => {
                let listener = "<ipAddress>listener.example</ipAddress><port>5221</port>";
                let listener = self.random.pick(&["", listener, "<ipAddress>10.0.0.1</ipAddress>"]);
                let days = self.random.pick(&["", "<persistence>1</persistence>", "<persistence>P0D</persistence>"]);
                let kind = self.random.pick(&["", "<type>Mail</type>", "<type>CalendarItem</type>", "<type>x</type>"]);
                let inbox = "<container>inbox@16</container>";
                let not = self.random.below(2);
                let containers = format!("<containers not=\"{not}\">{}</containers>", self.random.pick(&["", inbox]));
                let events = "FolderItemAdd FolderItemMove ItemDelete ItemPurge ItemModify ItemMarkRead FolderModify";
                format!(
                    "<configureEventsRequest><events enabled=\"1\">{key}{days}{listener}<definition><events><event>{events}\
                     </event></events>{kind}{containers}</definition></events></configureEventsRequest>"
                )
            }
            4..8 => {
                let count = self.random.pick(&["", "<count>2</count>", "<count>-1</count>", "<count>-2</count>"]);
                let (remove, notify) = (self.random.below(2), self.random.below(2));
                let rest = format!("<remove>{remove}</remove><notify>{notify}</notify>");
                format!("<getEventsRequest>{key}{count}{rest}</getEventsRequest>")
            }
            8 => format!("<removeEventsRequest>{key}</removeEventsRequest>"),
            _ if self.random.below(3) > 0 => "<cleanEventConfigurationRequest/>".to_owned(),
            _ => format!("<removeEventConfigurationRequest>{key}</removeEventConfigurationRequest>"),
        };
        soap("*", &operation)
    }
}

fn denied(request: Request, why: Denial) -> Request {
    Request { access: Access::Denied(why), ..request }
}
