//! Accounts and their mailboxes, by number and by every name.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::Account;
use crate::history::Position;

mod mailbox;
mod numbers;

pub use mailbox::{Condition, Folder, FolderNo, Mailbox, ROOT};
pub use numbers::Numbers;

/// A mailbox; never reused.
pub type MailboxNo = u32;

/// All mailboxes of the tenant.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes {
    all: BTreeMap<MailboxNo, Mailbox>,
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
            let name = account.to_ascii_lowercase();
            first(&self.by_name, &name).or_else(|| first(&self.by_alias, &name))
        })
    }

    /// The mailbox of an account that the host knows, by its id, else by its name.
    pub fn find_account(&self, account: &Account) -> Option<MailboxNo> {
        let by_name = || first(&self.by_name, &account.name.to_ascii_lowercase());
        self.by_id.get(&account.id).copied().or_else(by_name)
    }

    /// The mailbox of the account with this id.
    pub fn find_id(&self, id: &str) -> Option<MailboxNo> {
        self.by_id.get(id).copied()
    }

    /// A mailbox.
    pub fn get(&self, number: MailboxNo) -> &Mailbox {
        &self.all[&number]
    }

    /// A mailbox, to be altered; not its names, its history's events, its folders and what left them, which are indexed
    /// and counted here.
    pub fn get_mut(&mut self, number: MailboxNo) -> &mut Mailbox {
        self.all.get_mut(&number).expect("mailboxes are never removed")
    }

    /// Alters a mailbox's folders.
    pub fn with_folders<T>(&mut self, number: MailboxNo, alter: impl FnOnce(&mut Mailbox) -> T) -> T {
        self.uncount_folders(number);
        let given = alter(self.get_mut(number));
        self.count_folders(number);
        given
    }

    /// While all that is remembered of moved items takes more than this, forgets one after the other, each of another
    /// mailbox, from the first one at or behind `start` on; whether any was.
    pub fn forget_moves(&mut self, bytes: u64, start: MailboxNo) -> bool {
        let (mut next, mut any) = (start, false);
        while self.moved_bytes > bytes {
            let Some(number) = self.movers.range(next..).next().or(self.movers.first()).copied() else { break };
            self.with_folders(number, Mailbox::forget_oldest_move);
            (next, any) = (number + 1, true);
        }
        any
    }

    /// Whether there is a mailbox with this number.
    pub fn contains(&self, number: MailboxNo) -> bool {
        self.all.contains_key(&number)
    }

    /// Opens a mailbox for a new account.
    pub fn open(&mut self, account: Account, opened: Position) -> MailboxNo {
        let number = self.all.last_key_value().map_or(0, |(last, _)| last + 1);
        self.insert(number, Mailbox::new(account, opened));
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
        self.unindex_history(number);
        self.get_mut(number).close(position);
        self.index_history(number);
    }

    /// Appends to a mailbox's history.
    pub fn append(&mut self, number: MailboxNo, entries: impl IntoIterator<Item = crate::history::Entry>) {
        let Some(mailbox) = self.all.get_mut(&number) else {
            return;
        };
        let history = &mut mailbox.history;
        let (events, bytes) = (history.events(), history.bytes());
        for entry in entries {
            history.append(entry);
        }
        self.events += history.events() - events;
        self.bytes += history.bytes() - bytes;
        if events == 0 {
            self.fronts.extend(history.front().map(|entry| (entry.position, number)));
        }
    }

    /// Cuts a mailbox's history while it holds more than this; whether anything was cut.
    pub fn cut(&mut self, number: MailboxNo, events: u64, bytes: u64) -> bool {
        let history = &self.get(number).history;
        if history.events() <= events && history.bytes() <= bytes {
            return false;
        }
        self.unindex_history(number);
        let mailbox = self.get_mut(number);
        while mailbox.history.events() > events || mailbox.history.bytes() > bytes {
            mailbox.history.cut();
        }
        mailbox.forget_gone();
        self.index_history(number);
        true
    }

    /// Cuts the oldest event of all; gives its mailbox.
    pub fn cut_oldest(&mut self) -> Option<MailboxNo> {
        let (_, number) = *self.fronts.first()?;
        self.unindex_history(number);
        let mailbox = self.get_mut(number);
        mailbox.history.cut();
        mailbox.forget_gone();
        self.index_history(number);
        Some(number)
    }

    /// When the oldest event of all was heard.
    pub fn oldest_heard(&self) -> Option<u64> {
        let (_, number) = self.fronts.first()?;
        self.get(*number).history.front().map(|entry| entry.heard)
    }

    /// Forgets a mailbox's history up to now, so that no earlier position is reached.
    pub fn forget_past(&mut self, number: MailboxNo, now: Position) {
        self.unindex_history(number);
        let mailbox = self.get_mut(number);
        mailbox.history.forget(now);
        mailbox.forget_gone();
        self.index_history(number);
    }

    /// Forgets all histories.
    pub fn forget(&mut self, now: Position) {
        self.fronts.clear();
        self.bytes = 0;
        self.events = 0;
        self.folders = 0;
        for mailbox in self.all.values_mut() {
            mailbox.history.forget(now);
            mailbox.forget_gone();
            self.folders += mailbox.count_folders() as u64;
        }
    }

    /// Gives integer ids to all folders that have none.
    pub fn settle_numbers(&mut self) {
        self.all.values_mut().for_each(Mailbox::settle_numbers);
    }

    /// All mailboxes in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (MailboxNo, &Mailbox)> {
        self.all.iter().map(|(number, mailbox)| (*number, mailbox))
    }

    /// The first mailbox with at least this number.
    pub fn next_from(&self, number: MailboxNo) -> Option<(MailboxNo, &Mailbox)> {
        self.all.range(number..).next().map(|(number, mailbox)| (*number, mailbox))
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

    /// Puts a mailbox in its place and makes its indices.
    pub fn insert(&mut self, number: MailboxNo, mut mailbox: Mailbox) {
        mailbox.index();
        self.all.insert(number, mailbox);
        self.index_names(number);
        self.index_history(number);
    }

    fn index_names(&mut self, number: MailboxNo) {
        let mailbox = &self.all[&number];
        self.by_id.insert(mailbox.id.clone(), number);
        self.by_name.insert((mailbox.name.to_ascii_lowercase(), number));
        self.by_alias.extend(mailbox.aliases.iter().map(|alias| (alias.to_ascii_lowercase(), number)));
    }

    fn unindex_names(&mut self, number: MailboxNo) {
        let mailbox = &self.all[&number];
        self.by_id.remove(&mailbox.id);
        self.by_name.remove(&(mailbox.name.to_ascii_lowercase(), number));
        for alias in &mailbox.aliases {
            self.by_alias.remove(&(alias.to_ascii_lowercase(), number));
        }
    }

    /// Puts a mailbox's history into the index and the sums, and with it its folders, of which the history keeps some.
    fn index_history(&mut self, number: MailboxNo) {
        self.count_folders(number);
        let history = &self.all[&number].history;
        self.bytes += history.bytes();
        self.events += history.events();
        self.fronts.extend(history.front().map(|entry| (entry.position, number)));
    }

    /// Puts a mailbox's folders, and what left them, into the sums.
    fn count_folders(&mut self, number: MailboxNo) {
        let mailbox = &self.all[&number];
        self.folders += mailbox.count_folders() as u64;
        self.moved_bytes += mailbox.moved_bytes();
        match mailbox.moved_bytes() {
            0 => self.movers.remove(&number),
            _ => self.movers.insert(number),
        };
    }

    /// Takes out what [`Self::count_folders`] put in.
    fn uncount_folders(&mut self, number: MailboxNo) {
        let mailbox = &self.all[&number];
        self.folders -= mailbox.count_folders() as u64;
        self.moved_bytes -= mailbox.moved_bytes();
    }

    /// Takes out what [`Self::index_history`] put in.
    fn unindex_history(&mut self, number: MailboxNo) {
        self.uncount_folders(number);
        let history = &self.all[&number].history;
        self.bytes -= history.bytes();
        self.events -= history.events();
        if let Some(entry) = history.front() {
            self.fronts.remove(&(entry.position, number));
        }
    }
}

fn first(index: &BTreeSet<(String, MailboxNo)>, name: &str) -> Option<MailboxNo> {
    let (found, number) = index.range((name.to_owned(), 0)..).next()?;
    (found == name).then_some(*number)
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
            mailboxes.with_folders(number, |mailbox| {
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
