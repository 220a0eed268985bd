//! Accounts, their folders and what is kept of their past.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::contract::{self, Account};
use crate::history::{FolderAt, History, Position};

/// A mailbox; never reused.
pub type MailboxNo = u32;

/// A folder of one mailbox; never reused, and always of the same id.
pub type FolderNo = u32;

/// The folder above all others, which every mailbox has.
pub const ROOT: FolderNo = 0;

/// How many folders a mailbox may have, those included that its history still names.
pub const MAX_FOLDERS: usize = 50_000;

/// How many moved items are remembered, to recognise deletions that only repeat the move.
const MAX_MOVED_AWAY: usize = 256;

/// Whether a mailbox can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It can.
    Open,
    /// Not now.
    Unavailable,
    /// Its account was closed: nothing is left of it but its names.
    Closed,
}

/// A folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// The source's id; empty for the root.
    pub id: String,
    /// The folder that it is in; the root is in itself.
    pub parent: FolderNo,
    /// Display name.
    pub name: String,
    /// Distinguished name, lower case; empty: none.
    pub role: String,
    /// The kind of its items; empty: messages.
    pub holds: String,
    /// Grows with every event about it.
    pub revision: u64,
    /// Unread items, where known.
    pub unread: Option<u32>,
    /// All items, where known.
    pub total: Option<u32>,
    /// It was deleted, or has another id now; the history may still name it.
    pub gone: bool,
}

/// One account's mailbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mailbox {
    id: String,
    name: String,
    aliases: Vec<String>,
    /// Whether it can be used.
    pub condition: Condition,
    /// The number of its last change.
    pub number: u64,
    /// Its events.
    pub history: History,
    folders: BTreeMap<FolderNo, Folder>,
    next_folder: FolderNo,
    gone: VecDeque<(Position, FolderNo)>,
    moved_away: VecDeque<(FolderNo, Box<str>)>,
    #[serde(skip)]
    by_id: BTreeMap<String, FolderNo>,
}

impl Mailbox {
    fn new(account: Account, opened: Position) -> Self {
        let mut mailbox = Self {
            id: account.id,
            name: account.name,
            aliases: account.aliases,
            condition: Condition::Open,
            number: 0,
            history: History::since(opened),
            folders: BTreeMap::new(),
            next_folder: ROOT,
            gone: VecDeque::new(),
            moved_away: VecDeque::new(),
            by_id: BTreeMap::new(),
        };
        mailbox.insert(Folder::default());
        mailbox
    }

    /// The account's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A folder; the root for a number that was forgotten.
    pub fn folder(&self, number: FolderNo) -> &Folder {
        self.folders.get(&number).unwrap_or(&self.folders[&ROOT])
    }

    /// A folder, to be altered.
    pub fn folder_mut(&mut self, number: FolderNo) -> &mut Folder {
        let number = if self.folders.contains_key(&number) { number } else { ROOT };
        self.folders.get_mut(&number).expect("every mailbox has a root")
    }

    /// The folders that exist, the root first.
    pub fn folders(&self) -> impl Iterator<Item = (FolderNo, &Folder)> {
        self.folders.iter().filter(|(_, folder)| !folder.gone).map(|(number, folder)| (*number, folder))
    }

    /// The existing folder with this id; the empty id is the root's.
    pub fn find(&self, id: &str) -> Option<FolderNo> {
        self.by_id.get(id).copied().filter(|number| !self.folders[number].gone)
    }

    /// The existing folder with this distinguished name. `root` and `msgfolderroot` always exist.
    pub fn find_role(&self, role: &str) -> Option<FolderNo> {
        let found = self.folders().find(|(_, folder)| folder.role == role).map(|(number, _)| number);
        found.or_else(|| matches!(role, "root" | "msgfolderroot").then_some(ROOT))
    }

    /// Whether a folder with this id could be made known.
    pub fn has_room(&self, id: &str) -> bool {
        self.by_id.contains_key(id) || self.folders.len() < MAX_FOLDERS
    }

    /// The folder with this id. One that is not known comes to be below the root, with the role that its id says.
    pub fn ensure(&mut self, id: &str) -> FolderNo {
        match self.by_id.get(id) {
            Some(number) => {
                let folder = self.folders.get_mut(number).expect("the index names folders");
                folder.gone = false;
                *number
            }
            None => {
                let role = id.to_ascii_lowercase();
                let role = if crate::ews::is_distinguished(&role) { role } else { String::new() };
                self.insert(Folder { id: id.to_owned(), name: id.to_owned(), role, ..Folder::default() })
            }
        }
    }

    /// Takes over what a source says of a folder; what it leaves open stays as it was.
    pub fn describe(&mut self, number: FolderNo, said: contract::Folder) {
        let parent = self.ensure(&said.parent);
        let folder = self.folder_mut(number);
        if number != ROOT {
            folder.parent = parent;
        }
        if !said.name.is_empty() {
            folder.name = said.name;
        }
        if !said.role.is_empty() {
            folder.role = said.role.to_ascii_lowercase();
        }
        if !said.holds.is_empty() {
            folder.holds = said.holds;
        }
        folder.unread = said.unread.or(folder.unread);
        folder.total = said.total.or(folder.total);
    }

    /// The folder ceases to exist; its number stays known until the history has passed `position`.
    pub fn remove(&mut self, number: FolderNo, position: Position) {
        if number != ROOT {
            self.folder_mut(number).gone = true;
            self.gone.push_back((position, number));
        }
    }

    /// The folders below one are now below another.
    pub fn adopt_children(&mut self, from: FolderNo, to: FolderNo) {
        for folder in self.folders.values_mut().filter(|folder| folder.parent == from) {
            folder.parent = to;
        }
    }

    /// Another revision of a folder: the source's, if it is given, else the next.
    pub fn revise(&mut self, number: FolderNo, revision: Option<u64>) -> FolderAt {
        let folder = self.folder_mut(number);
        folder.revision = revision.unwrap_or(folder.revision + 1);
        FolderAt { folder: number, revision: folder.revision }
    }

    /// A folder as it is now.
    pub fn at(&self, number: FolderNo) -> FolderAt {
        FolderAt { folder: number, revision: self.folder(number).revision }
    }

    /// Remembers that an item is no longer in a folder.
    pub fn moved_away(&mut self, folder: FolderNo, item: &str) {
        if self.moved_away.len() == MAX_MOVED_AWAY {
            self.moved_away.pop_front();
        }
        self.moved_away.push_back((folder, item.into()));
    }

    /// Whether an item is known to have left this folder; asked once, because it may come back.
    pub fn had_moved_away(&mut self, folder: FolderNo, item: &str) -> bool {
        let found = self.moved_away.iter().position(|(from, id)| *from == folder && **id == *item);
        found.and_then(|at| self.moved_away.remove(at)).is_some()
    }

    /// Forgets the folders that are gone and that the history no longer names.
    fn forget_gone(&mut self) {
        while let Some((position, number)) = self.gone.front().copied() {
            if position > self.history.floor() {
                break;
            }
            self.gone.pop_front();
            if self.folders.get(&number).is_some_and(|folder| folder.gone) {
                let folder = self.folders.remove(&number).expect("it was just there");
                self.by_id.remove(&folder.id);
            }
        }
    }

    /// Whether a mailbox that was read from outside is one.
    pub fn is_sound(&self) -> bool {
        self.folders.contains_key(&ROOT)
    }

    fn insert(&mut self, folder: Folder) -> FolderNo {
        let number = self.next_folder;
        self.next_folder += 1;
        self.by_id.insert(folder.id.clone(), number);
        self.folders.insert(number, folder);
        number
    }

    fn close(&mut self, position: Position) {
        let account = Account { id: self.id.clone(), name: self.name.clone(), aliases: self.aliases.clone() };
        *self = Self { number: self.number, condition: Condition::Closed, ..Self::new(account, position) };
    }
}

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
}

impl Mailboxes {
    /// The mailbox of an account, by its id, its name or one of its aliases, names without regard to (ASCII) case.
    pub fn find(&self, account: &str) -> Option<MailboxNo> {
        let name = account.to_ascii_lowercase();
        self.by_id
            .get(account)
            .copied()
            .or_else(|| first(&self.by_name, &name))
            .or_else(|| first(&self.by_alias, &name))
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

    /// A mailbox, to be altered; not its names and not its history's events, which are indexed here.
    pub fn get_mut(&mut self, number: MailboxNo) -> &mut Mailbox {
        self.all.get_mut(&number).expect("mailboxes are never removed")
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
    }

    /// Appends to a mailbox's history.
    pub fn append(&mut self, number: MailboxNo, entries: impl IntoIterator<Item = crate::history::Entry>) {
        self.unindex_history(number);
        let history = &mut self.get_mut(number).history;
        for entry in entries {
            history.append(entry);
        }
        self.index_history(number);
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

    /// Forgets all histories.
    pub fn forget(&mut self, now: Position) {
        self.fronts.clear();
        self.bytes = 0;
        self.events = 0;
        for mailbox in self.all.values_mut() {
            mailbox.history.forget(now);
            mailbox.forget_gone();
        }
    }

    /// All mailboxes in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (MailboxNo, &Mailbox)> {
        self.all.iter().map(|(number, mailbox)| (*number, mailbox))
    }

    /// The first mailbox with at least this number.
    pub fn next_from(&self, number: MailboxNo) -> Option<(MailboxNo, &Mailbox)> {
        self.all.range(number..).next().map(|(number, mailbox)| (*number, mailbox))
    }

    /// Bytes of all histories together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events of all histories together.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Puts a mailbox in its place and makes its indices.
    pub fn insert(&mut self, number: MailboxNo, mut mailbox: Mailbox) {
        mailbox.by_id = mailbox.folders.iter().map(|(number, folder)| (folder.id.clone(), *number)).collect();
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

    fn index_history(&mut self, number: MailboxNo) {
        let history = &self.all[&number].history;
        self.bytes += history.bytes();
        self.events += history.events();
        self.fronts.extend(history.front().map(|entry| (entry.position, number)));
    }

    fn unindex_history(&mut self, number: MailboxNo) {
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
