//! What a source is going to say, and what EWS clients must hear of it: the model that the server is held against.
//!
//! Every change has a moment and a count of unread items that no other change of any source has, so each event that a
//! client hears tells which change it comes from.

use serde_json::{Value, json};

use crate::ews::Event;
use crate::histories::Random;

/// How many sources there are.
pub const SOURCES: usize = 3;

/// The accounts that things happen in.
pub const ACCOUNTS: [&str; 3] = ["alice@example.org", "bob@example.org", "carol@example.org"];

/// The folders of each account, by their ids, which are their distinguished names too.
pub const FOLDERS: [&str; 4] = ["inbox", "drafts", "sentitems", "deleteditems"];

/// The most changes in one batch.
const MOST: u64 = 20;

/// 2026-11-01, 00:00, in milliseconds since the Unix epoch: when the first change happens.
const BEGINNING: u64 = 1_793_491_200_000;

/// What one source says, batch by batch. Each follows from the seed and the batches before.
#[derive(Debug)]
pub struct Plan {
    source: usize,
    random: Random,
    changes: u64,
    items: [Vec<Item>; ACCOUNTS.len()],
    /// What is planned so far.
    pub batches: Vec<Batch>,
    /// Whether that is all.
    pub finished: bool,
}

/// Changes that are sent together.
#[derive(Debug)]
pub struct Batch {
    /// How many changes this source sent before.
    pub offset: u64,
    /// The changes as they are sent.
    pub changes: Vec<Value>,
    /// What is to be heard of them, account by account, in this order.
    pub events: [Vec<Event>; ACCOUNTS.len()],
}

/// A message of this source.
#[derive(Clone, Debug)]
struct Item {
    id: String,
    folder: &'static str,
}

/// One change as it is being planned.
struct Change<'b> {
    batch: &'b mut Batch,
    account: usize,
    /// No other change of any source has it.
    number: u64,
}

impl Plan {
    /// What source `source` of [`SOURCES`] says.
    pub fn new(source: usize, seed: u64) -> Plan {
        let (random, items) = (Random(seed), Default::default());
        Plan { source, random, changes: 0, items, batches: Vec::new(), finished: false }
    }

    /// The name that the source goes by.
    pub fn name(&self) -> String {
        format!("source-{}", self.source)
    }

    /// Plans one more batch.
    pub fn extend(&mut self) {
        let mut batch = self.empty_batch();
        for _ in 0..=self.random.below(MOST) {
            self.plan_change(&mut batch);
        }
        self.batches.push(batch);
    }

    /// Plans the last batch: in each folder the mark of this source, an event of its own behind all others.
    pub fn finish(&mut self) {
        let mut batch = self.empty_batch();
        for account in 0..ACCOUNTS.len() {
            for folder in FOLDERS {
                let mark = Item { id: last_mark(self.source, folder), folder };
                self.next_change(&mut batch, account).flagged(&mark, false);
            }
        }
        self.batches.push(batch);
        self.finished = true;
    }

    fn empty_batch(&self) -> Batch {
        Batch { offset: self.changes, changes: Vec::new(), events: Default::default() }
    }

    fn next_change<'b>(&mut self, batch: &'b mut Batch, account: usize) -> Change<'b> {
        let number = self.changes * SOURCES as u64 + self.source as u64;
        self.changes += 1;
        Change { batch, account, number }
    }

    fn plan_change(&mut self, batch: &mut Batch) {
        let account = self.random.below(ACCOUNTS.len() as u64) as usize;
        let change = self.next_change(batch, account);
        let fresh = |folder| Item { id: format!("item-{}", change.number), folder };
        let (items, random) = (&mut self.items[account], &mut self.random);
        let kind = if items.is_empty() { 0 } else { random.below(12) };
        let chosen = random.below(items.len().max(1) as u64) as usize;
        let folder = FOLDERS[random.below(FOLDERS.len() as u64) as usize];
        match kind {
            0..5 => {
                let item = fresh("inbox");
                change.delivered(&item);
                items.push(item);
            }
            5 => {
                let item = fresh(folder);
                change.created(&item);
                items.push(item);
            }
            6 | 7 => change.flagged(&items[chosen], random.below(2) == 0),
            8 if folder != items[chosen].folder => {
                let copy = fresh(folder);
                change.relocated("item-copied", &items[chosen], &copy, &[folder]);
                items.push(copy);
            }
            9 | 10 if folder != items[chosen].folder => {
                let after = Item { folder, ..items[chosen].clone() };
                let before = std::mem::replace(&mut items[chosen], after);
                change.relocated("item-moved", &before, &items[chosen], &[before.folder, folder]);
            }
            _ => change.deleted(&items.swap_remove(chosen)),
        }
    }
}

/// The id of the item that marks in this folder that the source has come to its end.
pub fn last_mark(source: usize, folder: &str) -> String {
    format!("last-of-{source}-in-{folder}")
}

/// Whether a subscription to these folders, or to all, is to hear of an event.
pub fn covers(folders: Option<&[&str]>, event: &Event) -> bool {
    let Some(folders) = folders else { return true };
    let among = |id: &Option<String>| id.as_deref().is_some_and(|id| folders.contains(&id));
    match event.item {
        Some(_) => among(&event.parent) || among(&event.old_parent),
        None => among(&event.folder),
    }
}

impl Batch {
    /// How many changes the source has sent after this batch.
    pub fn end(&self) -> u64 {
        self.offset + self.changes.len() as u64
    }
}

impl Item {
    fn json(&self) -> Value {
        json!({"kind": "message", "id": self.id, "folder": self.folder})
    }
}

impl Change<'_> {
    fn delivered(mut self, item: &Item) {
        self.tell(self.of_item("CreatedEvent", item));
        self.tell(self.of_item("NewMailEvent", item));
        self.send(json!({"message-delivered": item.json()}), &[item.folder]);
    }

    fn created(mut self, item: &Item) {
        self.tell(self.of_item("CreatedEvent", item));
        self.send(json!({"item-created": item.json()}), &[item.folder]);
    }

    fn flagged(mut self, item: &Item, counted: bool) {
        self.tell(self.of_item("ModifiedEvent", item));
        let folders = [item.folder];
        let what = json!({"item-modified": {"item": item.json(), "fields": ["flags"]}});
        self.send(what, if counted { &folders } else { &[] });
    }

    fn deleted(mut self, item: &Item) {
        self.tell(self.of_item("DeletedEvent", item));
        self.send(json!({"item-deleted": item.json()}), &[item.folder]);
    }

    fn relocated(mut self, how: &str, before: &Item, after: &Item, counted: &[&str]) {
        let kind = if how == "item-moved" { "MovedEvent" } else { "CopiedEvent" };
        let (old, old_parent) = (Some(before.id.clone()), Some(before.folder.to_owned()));
        self.tell(Event { old, old_parent, ..self.of_item(kind, after) });
        self.send(json!({how: {"before": before.json(), "after": after.json()}}), counted);
    }

    fn of_item(&self, kind: &str, item: &Item) -> Event {
        let (item, parent) = (Some(item.id.clone()), Some(item.folder.to_owned()));
        Event { kind: kind.into(), time: Some(self.time()), item, parent, ..Event::default() }
    }

    fn tell(&mut self, event: Event) {
        self.batch.events[self.account].push(event);
    }

    /// Sends what happened, and what these folders hold after it. In one batch the last count of a folder is told alone.
    fn send(mut self, what: Value, counted: &[&str]) {
        let unread = self.number as u32 + 1;
        let counts: Vec<_> =
            counted.iter().map(|folder| json!({"folder": folder, "unread": unread, "total": unread})).collect();
        let (account, at) = (ACCOUNTS[self.account], BEGINNING + self.number * 1000);
        self.batch.changes.push(json!({"account": account, "at": at, "what": what, "counts": counts}));
        for folder in counted {
            let folder = Some((*folder).to_owned());
            self.batch.events[self.account].retain(|event| event.folder != folder);
            let (kind, parent) = ("ModifiedEvent".into(), Some("root".into()));
            let (time, unread) = (Some(self.time()), Some(unread));
            self.tell(Event { kind, time, folder, parent, unread, ..Event::default() });
        }
    }

    fn time(&self) -> String {
        let (day, second) = (self.number / 86_400, self.number % 86_400);
        format!("2026-11-{:02}T{:02}:{:02}:{:02}Z", day + 1, second / 3600, second / 60 % 60, second % 60)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_event_tells_its_change() {
        let mut all = BTreeSet::new();
        for source in 0..SOURCES {
            let mut plan = Plan::new(source, 7);
            (0..50).for_each(|_| plan.extend());
            plan.finish();
            for (account, events) in plan.batches.iter().flat_map(|batch| ACCOUNTS.iter().zip(&batch.events)) {
                for event in events {
                    assert!(all.insert(format!("{account}: {event}")), "twice: {event}");
                }
            }
        }
        assert!(all.len() > 1000, "{}", all.len());
    }

    #[test]
    fn a_burst_tells_the_count_of_a_folder_once() {
        let mut batch = Plan::new(0, 0).empty_batch();
        for number in [3, 6] {
            let item = Item { id: format!("m{number}"), folder: "inbox" };
            Change { batch: &mut batch, account: 0, number }.delivered(&item);
        }
        let told: Vec<_> = batch.events[0].iter().map(|event| event.to_string()).collect();
        assert_eq!(
            told,
            [
                "CreatedEvent item=m3 in=inbox at=2026-11-01T00:00:03Z",
                "NewMailEvent item=m3 in=inbox at=2026-11-01T00:00:03Z",
                "CreatedEvent item=m6 in=inbox at=2026-11-01T00:00:06Z",
                "NewMailEvent item=m6 in=inbox at=2026-11-01T00:00:06Z",
                "ModifiedEvent folder=inbox in=root unread=7 at=2026-11-01T00:00:06Z",
            ]
        );
        assert!(covers(Some(&["inbox"]), &batch.events[0][4]) && !covers(Some(&["drafts"]), &batch.events[0][4]));
    }
}
