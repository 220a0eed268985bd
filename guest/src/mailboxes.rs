//! Accounts and their mailboxes, by number and by every name.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::Account;
use crate::history::{History, Position};

mod mailbox;
mod numbers;

pub use mailbox::{Condition, Folder, FolderNo, Mailbox, ROOT};
pub use numbers::Numbers;

/// A mailbox; never reused.
pub type MailboxNo = u32;

/// All mailboxes of the tenant.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes {
    /// Each in the place of its number.
    #[expect(clippy::vec_box, reason = "to grow moves pointers, not mailboxes, and never doubles what they take")]
    all: Vec<Box<Mailbox>>,
    by_id: BTreeMap<String, MailboxNo>,
    by_name: BTreeSet<(String, MailboxNo)>,
    by_alias: BTreeSet<(String, MailboxNo)>,
    fronts: BTreeSet<(Position, MailboxNo)>,
    bytes: u64,
    events: u64,
    folders: u64,
    moved_bytes: u64,
    /// The mailboxes that remember items that were moved.
    movers: BTreeSet<MailboxNo>,
}

impl Mailboxes {
    /// The mailbox of an account, by its id, its name or one of its aliases, names without regard to (ASCII) case.
    pub fn find(&self, account: &str) -> Option<MailboxNo> {
        self.by_id.get(account).copied().or_else(|| {
            let by_name = first(&self.by_name, account.to_ascii_lowercase());
            by_name.or_else(|| first(&self.by_alias, account.to_ascii_lowercase()))
        })
    }

    /// The mailbox of an account that the host knows, by its id, else by its name.
    pub fn find_account(&self, account: &Account) -> Option<MailboxNo> {
        let by_name = || first(&self.by_name, account.name.to_ascii_lowercase());
        self.by_id.get(&account.id).copied().or_else(by_name)
    }

    /// The mailbox of the account with this id.
    pub fn find_id(&self, id: &str) -> Option<MailboxNo> {
        self.by_id.get(id).copied()
    }

    /// A mailbox.
    pub fn get(&self, number: MailboxNo) -> &Mailbox {
        &self.all[number as usize]
    }

    /// A mailbox, to be altered; not its names, its history's events, its folders and what left them, which are indexed
    /// and counted here.
    pub fn get_mut(&mut self, number: MailboxNo) -> &mut Mailbox {
        &mut self.all[number as usize]
    }

    /// Alters a mailbox, but for its names.
    pub fn alter<T>(&mut self, number: MailboxNo, alter: impl FnOnce(&mut Mailbox) -> T) -> T {
        let mailbox = self.get_mut(number);
        let before = Share::of(mailbox);
        let given = alter(mailbox);
        let after = Share::of(mailbox);
        self.reckon(number, &before, &after);
        given
    }

    /// While all that is remembered of moved items takes more than this, forgets one after the other, each of another
    /// mailbox, from the first one at or behind `start` on; whether any was.
    pub fn forget_moves(&mut self, bytes: u64, start: MailboxNo) -> bool {
        let (mut next, mut any) = (start, false);
        while self.moved_bytes > bytes {
            let Some(number) = self.movers.range(next..).next().or(self.movers.first()).copied() else { break };
            self.alter(number, Mailbox::forget_oldest_move);
            (next, any) = (number + 1, true);
        }
        any
    }

    /// Whether there is a mailbox with this number.
    pub fn contains(&self, number: MailboxNo) -> bool {
        (number as usize) < self.all.len()
    }

    /// Opens a mailbox for a new account.
    pub fn open(&mut self, account: Account, opened: Position) -> MailboxNo {
        let number = self.all.len() as MailboxNo;
        self.push(Mailbox::new(account, opened));
        number
    }

    /// Makes the names of a mailbox those of the account, if they are not; whether they were not. The id must not be
    /// another's.
    pub fn rename(&mut self, number: MailboxNo, account: &Account) -> bool {
        let mailbox = self.get(number);
        if mailbox.id == account.id && mailbox.name == account.name && mailbox.aliases == account.aliases {
            return false;
        }
        self.unindex_names(number);
        let mailbox = self.get_mut(number);
        account.id.clone_into(&mut mailbox.id);
        account.name.clone_into(&mut mailbox.name);
        account.aliases.clone_into(&mut mailbox.aliases);
        self.index_names(number);
        true
    }

    /// The mailbox of an account that a client names, which comes to be now if not by an earlier change.
    pub fn named(&mut self, account: &Account, now: Position) -> MailboxNo {
        match self.find_account(account) {
            Some(number) => {
                self.adopt(number, &account.id);
                number
            }
            None => self.open(account.clone(), now),
        }
    }

    /// A mailbox that was opened under its name gets its account's id, once that is known.
    pub fn adopt(&mut self, number: MailboxNo, id: &str) {
        let mailbox = self.get(number);
        let account = Account { id: id.to_owned(), name: mailbox.name.clone(), aliases: mailbox.aliases.clone() };
        self.rename(number, &account);
    }

    /// Closes the account: folders and history go, the names stay, so that stragglers are recognised.
    pub fn close(&mut self, number: MailboxNo, position: Position) {
        self.alter(number, |mailbox| mailbox.close(position));
    }

    /// Appends to a mailbox's history.
    pub fn append(&mut self, number: MailboxNo, entries: impl Iterator<Item = crate::history::Entry>) {
        self.alter(number, |mailbox| entries.for_each(|entry| mailbox.history.append(entry)));
    }

    /// Cuts a mailbox's history while it holds more than this; whether anything was cut.
    pub fn cut(&mut self, number: MailboxNo, events: u64, bytes: u64) -> bool {
        let is_over = |history: &History| history.events() > events || history.bytes() > bytes;
        if !is_over(&self.get(number).history) {
            return false;
        }
        self.alter(number, |mailbox| {
            while is_over(&mailbox.history) {
                mailbox.history.cut();
            }
        });
        true
    }

    /// Cuts the oldest event of all; gives its mailbox.
    pub fn cut_oldest(&mut self) -> Option<MailboxNo> {
        let (_, number) = *self.fronts.first()?;
        self.alter(number, |mailbox| mailbox.history.cut());
        Some(number)
    }

    /// When the oldest event of all was heard.
    pub fn oldest_heard(&self) -> Option<u64> {
        let (_, number) = self.fronts.first()?;
        self.get(*number).history.front().map(|entry| entry.heard)
    }

    /// Forgets a mailbox's history up to now, so that no earlier position is reached.
    pub fn forget_past(&mut self, number: MailboxNo, now: Position) {
        self.alter(number, |mailbox| mailbox.history.forget(now));
    }

    /// Forgets the folders of a mailbox that are gone and that nothing names any more.
    pub fn forget_gone(&mut self, number: MailboxNo, is_named: impl Fn(FolderNo) -> bool) {
        self.alter(number, |mailbox| mailbox.forget_gone(is_named));
    }

    /// Gives integer ids to all folders that have none.
    pub fn settle_numbers(&mut self) {
        self.all.iter_mut().for_each(|mailbox| mailbox.settle_numbers());
    }

    /// All mailboxes in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (MailboxNo, &Mailbox)> {
        (0..).zip(self.all.iter().map(|mailbox| &**mailbox))
    }

    /// How many there are, closed ones included.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Bytes of all histories together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events of all histories together.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Folders of all mailboxes, roots and those included that histories still name.
    pub fn folders(&self) -> u64 {
        self.folders
    }

    /// What is remembered of items that were moved, in bytes.
    pub fn moved_bytes(&self) -> u64 {
        self.moved_bytes
    }

    /// Adds a mailbox with the next number, and makes its indices.
    pub fn push(&mut self, mut mailbox: Mailbox) {
        let number = self.all.len() as MailboxNo;
        mailbox.index();
        let share = Share::of(&mailbox);
        self.all.push(Box::new(mailbox));
        self.index_names(number);
        self.reckon(number, &Share::default(), &share);
    }

    fn index_names(&mut self, number: MailboxNo) {
        let mailbox = &self.all[number as usize];
        self.by_id.insert(mailbox.id.clone(), number);
        self.by_name.insert((mailbox.name.to_ascii_lowercase(), number));
        self.by_alias.extend(mailbox.aliases.iter().map(|alias| (alias.to_ascii_lowercase(), number)));
    }

    fn unindex_names(&mut self, number: MailboxNo) {
        let mailbox = &self.all[number as usize];
        self.by_id.remove(&mailbox.id);
        self.by_name.remove(&(mailbox.name.to_ascii_lowercase(), number));
        for alias in &mailbox.aliases {
            self.by_alias.remove(&(alias.to_ascii_lowercase(), number));
        }
    }

    /// What a mailbox has in the sums and in the indices besides its names is no longer `before`, but `after`.
    fn reckon(&mut self, number: MailboxNo, before: &Share, after: &Share) {
        self.bytes = self.bytes - before.bytes + after.bytes;
        self.events = self.events - before.events + after.events;
        self.folders = self.folders - before.folders + after.folders;
        self.moved_bytes = self.moved_bytes - before.moved_bytes + after.moved_bytes;
        if before.front != after.front {
            if let Some(front) = before.front {
                self.fronts.remove(&(front, number));
            }
            self.fronts.extend(after.front.map(|front| (front, number)));
        }
        if before.moved_bytes == 0 && after.moved_bytes > 0 {
            self.movers.insert(number);
        } else if before.moved_bytes > 0 && after.moved_bytes == 0 {
            self.movers.remove(&number);
        }
    }
}

/// What a mailbox has in the sums and the indices of all, besides its names.
#[derive(Default)]
struct Share {
    bytes: u64,
    events: u64,
    folders: u64,
    moved_bytes: u64,
    front: Option<Position>,
}

impl Share {
    fn of(mailbox: &Mailbox) -> Share {
        let history = &mailbox.history;
        Share {
            bytes: history.bytes(),
            events: history.events(),
            folders: mailbox.count_folders() as u64,
            moved_bytes: mailbox.moved_bytes(),
            front: history.front().map(|entry| entry.position),
        }
    }
}

fn first(index: &BTreeSet<(String, MailboxNo)>, name: String) -> Option<MailboxNo> {
    let from = (name, 0);
    let (found, number) = index.range(&from..).next()?;
    (*found == from.0).then_some(*number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_forgotten_by_turns_and_no_more_than_must_be() {
        let mut mailboxes = Mailboxes::default();
        for name in ["a", "b", "c"] {
            let account = Account { id: name.to_owned(), name: name.to_owned(), aliases: Vec::new() };
            mailboxes.open(account, Position::default());
        }
        for (number, items) in [(0, 3), (2, 2)] {
            mailboxes.alter(number, |mailbox| {
                (0..items).for_each(|item| mailbox.moved_away(ROOT, &format!("item{item}")));
            });
        }
        let each = mailboxes.moved_bytes() / 5;
        let left = |mailboxes: &Mailboxes| {
            let left =
                |number| (0..3).filter(move |item| mailboxes.get(number).has_moved_away("", &format!("item{item}")));
            [0, 2].map(|number| left(number).collect::<Vec<_>>())
        };
        assert!(!mailboxes.forget_moves(5 * each, 1));
        assert!(mailboxes.forget_moves(5 * each - 1, 1));
        assert_eq!(left(&mailboxes), [vec![0, 1, 2], vec![1]]);
        assert!(mailboxes.forget_moves(2 * each, 1));
        assert_eq!((left(&mailboxes), mailboxes.moved_bytes()), ([vec![1, 2], vec![]], 2 * each));
        mailboxes.close(0, Position::default());
        assert_eq!(mailboxes.moved_bytes(), 0);
        assert!(!mailboxes.forget_moves(0, 0));
    }
}
