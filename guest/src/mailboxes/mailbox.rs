//! One account's mailbox: its folders, and what is kept of its past.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::contract::{self, Account};
use crate::history::{FolderAt, History, Position};

use super::numbers::Numbers;

/// A folder of one mailbox; never reused, and always of the same id.
pub type FolderNo = u32;

/// The folder above all others, which every mailbox has.
pub const ROOT: FolderNo = 0;

/// How many folders a mailbox may have, those included that its history still names.
pub const MAX_FOLDERS: usize = 50_000;

/// How many moved items are remembered, to recognise deletions that only repeat the move.
const MAX_MOVED_AWAY: usize = 256;

/// What a moved item takes besides its id, in bytes.
const MOVED_ITEM_BYTES: u64 = 40;

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
    pub(super) id: String,
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
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
    moved_bytes: u64,
    /// Saved by itself: the first format had none.
    #[serde(skip)]
    pub numbers: Numbers,
    #[serde(skip)]
    by_id: BTreeMap<String, FolderNo>,
    /// Promised folders, each with the one that has come in its place; empty between inputs.
    #[serde(skip)]
    replaced: Vec<(FolderNo, FolderNo)>,
}

impl Mailbox {
    pub(super) fn new(account: Account, opened: Position) -> Self {
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
            moved_bytes: 0,
            numbers: Numbers::default(),
            by_id: BTreeMap::new(),
            replaced: Vec::new(),
        };
        mailbox.insert(Folder::default());
        mailbox
    }

    /// The mailbox of an account of which nothing was heard.
    pub fn empty(account: &Account) -> Self {
        Self::new(account.clone(), Position::default())
    }

    /// The account's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The account's name.
    pub fn name(&self) -> &str {
        &self.name
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

    /// The folder with this id, also one that is gone and not forgotten.
    pub fn find_gone(&self, id: &str) -> Option<FolderNo> {
        self.by_id.get(id).copied()
    }

    /// A folder's integer id, for Zimbra's clients.
    pub fn integer_id(&self, number: FolderNo) -> i64 {
        self.numbers.of(number, &self.folder(number).role)
    }

    /// Gives integer ids to the folders that came to be since this was last asked.
    pub fn settle_numbers(&mut self) {
        if self.numbers.next() == self.next_folder {
            return;
        }
        let fresh = self.folders.range(self.numbers.next()..);
        self.numbers.settle(fresh.map(|(number, folder)| (*number, folder.role.as_str())));
    }

    /// The existing folder with this distinguished name. `root` and `msgfolderroot` always exist.
    pub fn find_role(&self, role: &str) -> Option<FolderNo> {
        let found = self.folders().find(|(_, folder)| folder.role == role).map(|(number, _)| number);
        found.or_else(|| matches!(role, "root" | "msgfolderroot").then_some(ROOT))
    }

    /// Whether a folder with this id is known, or was and is not forgotten.
    pub fn knows(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// How many folders there are, the root and those included that are gone and not forgotten.
    pub fn count_folders(&self) -> usize {
        self.folders.len()
    }

    /// Whether a folder with this id could be made known.
    pub fn has_room(&self, id: &str) -> bool {
        self.knows(id) || self.folders.len() < MAX_FOLDERS
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
                let number = self.insert(Folder { id: id.to_owned(), name: id.to_owned(), role, ..Folder::default() });
                self.keep_promise(number);
                number
            }
        }
    }

    /// The folder with this distinguished name, which must be one that every mailbox has. As long as no source has spoken
    /// of it, one stands in for it whose id is its name. None: there is no room for it.
    pub fn promise(&mut self, role: &str) -> Option<FolderNo> {
        self.find_role(role).or_else(|| self.has_room(role).then(|| self.ensure(role)))
    }

    /// If a folder has the role of one that was promised and that no source has spoken of, it takes its place.
    fn keep_promise(&mut self, number: FolderNo) {
        let Some(promised) = self.by_id.get(&self.folder(number).role).copied() else {
            return;
        };
        let folder = self.folder(promised);
        let stands_in = folder.revision == 0 && folder.id == folder.role && !folder.gone;
        if promised != number && promised != ROOT && stands_in {
            self.replaced.push((promised, number));
        }
    }

    /// The promised folders in whose place another has come since this was last asked: old and new.
    pub fn take_replaced(&mut self) -> Vec<(FolderNo, FolderNo)> {
        std::mem::take(&mut self.replaced)
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
        if let Some(integer) = said.number {
            self.numbers.give(number, integer);
        }
        self.keep_promise(number);
    }

    /// The folder ceases to exist; its number stays known until the history has passed `position`.
    pub fn remove(&mut self, number: FolderNo, position: Position) {
        if number != ROOT {
            self.folder_mut(number).gone = true;
            // It may have gone and come before.
            self.gone.retain(|(_, other)| *other != number);
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
            self.forget_oldest_move();
        }
        self.moved_bytes += weight(item);
        self.moved_away.push_back((folder, item.into()));
    }

    /// Whether an item is known to have left the folder with this id.
    pub fn has_moved_away(&self, folder: &str, item: &str) -> bool {
        let number = self.by_id.get(folder);
        number.is_some_and(|number| self.moved_away.iter().any(|(from, id)| from == number && **id == *item))
    }

    /// Whether an item is known to have left this folder; asked once, because it may come back.
    pub fn had_moved_away(&mut self, folder: FolderNo, item: &str) -> bool {
        let found = self.moved_away.iter().position(|(from, id)| *from == folder && **id == *item);
        let found = found.and_then(|at| self.moved_away.remove(at));
        self.moved_bytes -= found.as_ref().map_or(0, |(_, item)| weight(item));
        found.is_some()
    }

    /// What the items take that are remembered to have left, in bytes.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.moved_bytes
    }

    /// Forgets the item that left first of those remembered.
    pub(super) fn forget_oldest_move(&mut self) {
        let forgotten = self.moved_away.pop_front();
        self.moved_bytes -= forgotten.map_or(0, |(_, item)| weight(&item));
    }

    /// Forgets the folders that are gone and that neither the history nor a subscription names any more.
    pub(super) fn forget_gone(&mut self, is_named: impl Fn(FolderNo) -> bool) {
        let mut kept = Vec::new();
        while let Some((position, number)) = self.gone.front().copied() {
            if position > self.history.floor() {
                break;
            }
            self.gone.pop_front();
            let is_gone = self.folders.get(&number).is_some_and(|folder| folder.gone);
            if is_gone && is_named(number) {
                kept.push((self.history.last(), number));
            } else if is_gone {
                let folder = self.folders.remove(&number).expect("it was just there");
                self.by_id.remove(&folder.id);
                self.numbers.forget(number);
            }
        }
        self.gone.extend(kept);
    }

    /// Makes what is not saved or not to be relied on: the index of folders, the sums of what left them and of events.
    pub(super) fn index(&mut self) {
        self.history.weigh();
        self.moved_bytes = self.moved_away.iter().map(|(_, item)| weight(item)).sum();
        self.by_id = self.folders.iter().map(|(number, folder)| (folder.id.clone(), *number)).collect();
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

    pub(super) fn close(&mut self, position: Position) {
        let account = Account { id: self.id.clone(), name: self.name.clone(), aliases: self.aliases.clone() };
        *self = Self { number: self.number, condition: Condition::Closed, ..Self::new(account, position) };
    }
}

fn weight(moved_item: &str) -> u64 {
    moved_item.len() as u64 + MOVED_ITEM_BYTES
}
