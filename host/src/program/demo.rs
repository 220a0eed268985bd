//! What makes the demo alive: folders for its accounts, an address book, captured traffic of a real mail server for one of
//! them, and a client of hers that prints what it hears.

mod book;
mod listener;

use std::time::Duration;

use serde_json::Value;

use crate::contract::changes::{AccountChanges, Batch, Change, Folder, Happening};
use crate::ingest::users::Users;
use crate::ingest::{Format, gather};
use crate::tenant::{IngestError, Tenant};

pub use self::listener::listen;

/// The mail domain of the demo, which is its tenant's name too.
pub const DOMAIN: &str = "example.org";

/// The demo's accounts; ids equal names.
pub const ACCOUNTS: [&str; 4] = ["alice@example.org", "bob@example.org", "carol@example.org", "admin@example.org"];

/// The source of the demo's folders and address book: they are sent once in the life of a data directory.
pub const SOURCE: &str = "postbell-demo";

/// The account that hears of the captured traffic.
pub const CAROL: &str = ACCOUNTS[2];

/// The password of every account of the demo.
pub const PASSWORD: &str = "postbell";

/// Folders that each account has: the id, which is the role too, the name, the kind of its items.
const FOLDERS: [(&str, &str, &str); 10] = [
    ("inbox", "Inbox", "message"),
    ("drafts", "Drafts", "message"),
    ("sentitems", "Sent Items", "message"),
    ("deleteditems", "Deleted Items", "message"),
    ("junkemail", "Junk Email", "message"),
    ("outbox", "Outbox", "message"),
    ("calendar", "Calendar", "appointment"),
    ("contacts", "Contacts", "contact"),
    ("tasks", "Tasks", "task"),
    ("notes", "Notes", "note"),
];

/// What a Cyrus IMAP wrote to its notify socket while a client worked in alice's mailbox.
const TRAFFIC: &str = include_str!("demo-traffic.jsonl");

/// The captured traffic ends with a folder that it made; without it, it can be played again.
const CLEAN_UP: &str = r#"{"event":"MailboxDelete","uri":"imap://vm/user/alice/Archive;UIDVALIDITY=1795296515"}"#;

/// The time between two lines of traffic.
const PACE: Duration = Duration::from_secs(3);

/// The first batch of the demo: the folders of every account, and the address book. `now`: milliseconds since the Unix epoch.
pub fn baseline(now: u64) -> Batch {
    let folder = |(id, name, holds): (&str, &str, &str)| Folder {
        id: id.into(),
        parent: String::new(),
        name: name.into(),
        role: id.into(),
        holds: holds.into(),
        number: None,
        revision: None,
        unread: Some(0),
        total: Some(0),
    };
    let folders: Vec<Folder> = FOLDERS.into_iter().map(folder).collect();
    let account = |account: &str| {
        let what = Happening::Baseline(folders.clone());
        let change = Change { number: None, at: now, origin: None, counts: Vec::new(), what };
        AccountChanges { account: account.into(), changes: vec![change] }
    };
    Batch { accounts: ACCOUNTS.into_iter().map(account).collect(), book: book::entries() }
}

/// Plays the captured traffic to carol, a line every few seconds, again and again, until the tenant is closed.
pub async fn play(tenant: Tenant) {
    let users = Users::new(vec![DOMAIN.into()], [("alice".into(), CAROL.into())]);
    let mut pace = tokio::time::interval(PACE);
    pace.tick().await;
    for round in 0.. {
        for line in TRAFFIC.lines().chain([CLEAN_UP]) {
            let line = renew(line, round);
            let units = Format::Cyrus.units(line.as_bytes(), &users, tenant.now()).expect("a line is few changes");
            let (batch, ledger) = gather(units);
            if batch.accounts.is_empty() {
                continue;
            }
            pace.tick().await;
            match tenant.ingest(batch, None).await {
                Ok(ingested) => {
                    for rejected in ledger.rejected(&ingested.rejections) {
                        tracing::debug!(reason = rejected.reason, line, "the demo's traffic was rejected");
                    }
                }
                Err(IngestError::Closed) => return,
                Err(error) => tracing::warn!(%error, "the demo's traffic was not taken"),
            }
        }
    }
}

/// The line as if it happened now, in mailboxes that are new in each round, so that its items have new ids.
fn renew(line: &str, round: u32) -> String {
    let mut event: Value = serde_json::from_str(line).expect("the captured traffic is JSON");
    let members = event.as_object_mut().expect("an event is an object");
    members.remove("timestamp");
    for member in ["uri", "oldMailboxID"] {
        if let Some(Value::String(url)) = members.get_mut(member) {
            *url = another_uid_validity(url, round);
        }
    }
    event.to_string()
}

fn another_uid_validity(url: &str, round: u32) -> String {
    const NAME: &str = ";UIDVALIDITY=";
    let Some((path, rest)) = url.split_once(NAME) else { return url.to_owned() };
    let (number, rest) = rest.split_at(rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len()));
    let number: u32 = number.parse().expect("the captured traffic has numbers there");
    format!("{path}{NAME}{}{rest}", number.wrapping_add(round).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_account_has_its_folders_in_their_roles() {
        let batch = baseline(7);
        assert_eq!(batch.accounts.iter().map(|it| it.account.as_str()).collect::<Vec<_>>(), ACCOUNTS);
        let Happening::Baseline(folders) = &batch.accounts[3].changes[0].what else { panic!("not a baseline") };
        assert_eq!(folders.len(), 10);
        assert!(folders.iter().all(|folder| folder.id == folder.role && folder.parent.is_empty()));
    }

    #[test]
    fn every_round_has_its_own_ids() {
        let users = Users::new(vec![DOMAIN.into()], [("alice".into(), CAROL.into())]);
        let ids = |round| {
            let lines: String = TRAFFIC.lines().map(|line| renew(line, round) + "\n").collect();
            let (batch, ledger) = gather(Format::Cyrus.units(lines.as_bytes(), &users, 9).unwrap());
            assert!(ledger.rejected(&[]).is_empty());
            assert_eq!(batch.accounts.len(), 1);
            assert_eq!(batch.accounts[0].account, CAROL);
            assert!(batch.accounts[0].changes.iter().all(|change| change.at == 9));
            let id = |change: &Change| match &change.what {
                Happening::MessageDelivered(item) => Some(item.id.clone()),
                Happening::ItemMoved(moved) => Some(moved.after.id.clone()),
                _ => None,
            };
            batch.accounts[0].changes.iter().filter_map(id).collect::<BTreeSet<String>>()
        };
        assert_eq!(ids(0), BTreeSet::from(["inbox/1795296499/3".to_owned(), "Projects/1795296515/2".to_owned()]));
        assert!(ids(0).is_disjoint(&ids(1)));
    }
}
