//! Integer ids of folders, which Zimbra's clients use: the source's own, those that well-known folders have in every
//! Zimbra mailbox, and for others the next free one from 257 on, in the order of their appearance.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{FolderNo, ROOT};

/// The first integer id that no well-known folder has.
const FIRST: i64 = 257;

/// The integer ids of one mailbox's folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Those that the source says.
    given: BTreeMap<FolderNo, i64>,
    /// Those that were made up here.
    made: BTreeMap<FolderNo, i64>,
    /// The last that was made up.
    last: i64,
    /// What the source says, to be left out.
    taken: BTreeSet<i64>,
    /// Folders from this one on have not been looked at.
    next: FolderNo,
    /// Whether the changes of the mailbox are numbered here, because its source does not.
    pub own_changes: bool,
}

impl Numbers {
    /// The source says a folder's number.
    pub fn give(&mut self, folder: FolderNo, number: u64) {
        if let Ok(number) = i64::try_from(number) {
            self.given.insert(folder, number);
            self.taken.insert(number);
        }
    }

    /// Gives numbers to the folders from the first that has not been looked at.
    pub fn settle<'r>(&mut self, folders: impl Iterator<Item = (FolderNo, &'r str)>) {
        for (folder, role) in folders {
            self.next = folder + 1;
            if !self.given.contains_key(&folder) && well_known(folder, role).is_none() {
                let number = self.free();
                self.made.insert(folder, number);
            }
        }
    }

    /// The next number that nobody has.
    fn free(&mut self) -> i64 {
        loop {
            self.last = self.last.max(FIRST - 1) + 1;
            if !self.taken.contains(&self.last) {
                return self.last;
            }
        }
    }

    /// The first folder that has not been looked at.
    pub fn next(&self) -> FolderNo {
        self.next
    }

    /// The number of a folder with this role.
    pub fn of(&self, folder: FolderNo, role: &str) -> i64 {
        let given = self.given.get(&folder).copied().or_else(|| well_known(folder, role));
        given.or_else(|| self.made.get(&folder).copied()).unwrap_or_default()
    }

    /// A folder has another id now, and keeps its number.
    pub fn follow(&mut self, old: FolderNo, new: FolderNo) {
        if let Some(number) = self.given.get(&old).copied() {
            self.given.entry(new).or_insert(number);
        }
        if let Some(number) = self.made.get(&old).copied() {
            self.made.insert(new, number);
        }
    }

    /// A folder is forgotten.
    pub fn forget(&mut self, folder: FolderNo) {
        self.given.remove(&folder);
        self.made.remove(&folder);
    }
}

/// The integer id that a folder with this role has in every Zimbra mailbox.
fn well_known(folder: FolderNo, role: &str) -> Option<i64> {
    Some(match role {
        _ if folder == ROOT => 1,
        "inbox" => 2,
        "deleteditems" => 3,
        "junkemail" => 4,
        "sentitems" => 5,
        "drafts" => 6,
        "contacts" => 7,
        "calendar" => 10,
        "tasks" => 15,
        "documents" | "briefcase" => 16,
        _ => return None,
    })
}
