//! Changes of folders.

use super::{Intake, Telling};
use crate::contract::{Folder, FolderCounts, FolderRelocation, Instant};
use crate::history::{Before, Event, FolderAt, Kind, Position, Subject};
use crate::mailboxes::{FolderNo, MailboxNo};

impl Telling<'_> {
    /// Folders that exist: nobody is told.
    pub(super) fn baseline(&mut self, folders: Vec<Folder>) {
        for folder in folders {
            self.described(folder);
        }
        self.silent = true;
    }

    pub(super) fn folder_created(&mut self, folder: Folder) {
        let (at, parent) = self.described(folder);
        self.tell(Kind::Created, at, parent, None);
    }

    pub(super) fn folder_modified(&mut self, folder: Folder) {
        let unread = folder.unread;
        let (at, parent) = self.described(folder);
        self.fresh.folder_modified(self.time, at, parent, unread);
    }

    pub(super) fn folder_deleted(&mut self, folder: &Folder, position: Position) {
        let (at, parent) = match self.mailbox.find(&folder.id) {
            Some(known) => {
                let at = self.mailbox.revise(known, folder.revision);
                (at, self.mailbox.at(self.mailbox.folder(known).parent))
            }
            None => self.described(folder.clone()),
        };
        let number = at.folder;
        self.tell(Kind::Deleted, at, parent, None);
        self.mailbox.remove(number, position);
    }

    pub(super) fn folder_copied(&mut self, original: &Folder, copy: Folder) {
        let number = self.mailbox.ensure(&original.id);
        let parent = self.mailbox.at(self.mailbox.folder(number).parent);
        let before = Before { subject: Subject::Folder(self.mailbox.at(number)), parent };
        let (at, parent) = self.described(copy);
        self.tell(Kind::Copied, at, parent, Some(before));
        self.touch(parent.folder, None);
    }

    /// Gives the folder's number before and after: they differ if its id does.
    fn folder_moved(&mut self, from: &Folder, to: Folder, position: Position) -> (FolderNo, FolderNo) {
        let old = self.mailbox.ensure(&from.id);
        let old_parent = self.mailbox.at(self.mailbox.folder(old).parent);
        let before = Before { subject: Subject::Folder(self.mailbox.at(old)), parent: old_parent };
        let known = self.mailbox.folder(old).clone();
        let role = if to.role.is_empty() { known.role } else { to.role };
        let holds = if to.holds.is_empty() { known.holds } else { to.holds };
        let (unread, total) = (to.unread.or(known.unread), to.total.or(known.total));
        let (at, parent) = self.described(Folder { role, holds, unread, total, ..to });
        if at.folder != old {
            self.mailbox.remove(old, position);
            self.mailbox.adopt_children(old, at.folder);
            self.mailbox.numbers.follow(old, at.folder);
        }
        self.tell(Kind::Moved, at, parent, Some(before));
        self.touch(old_parent.folder, None);
        self.touch(parent.folder, None);
        (old, at.folder)
    }

    /// Takes over what the source says; gives the folder and its parent.
    fn described(&mut self, said: Folder) -> (FolderAt, FolderAt) {
        let number = self.mailbox.ensure(&said.id);
        let revision = said.revision;
        self.mailbox.describe(number, said);
        let at = self.mailbox.revise(number, revision);
        (at, self.mailbox.at(self.mailbox.folder(number).parent))
    }

    fn tell(&mut self, kind: Kind, at: FolderAt, parent: FolderAt, before: Option<Before>) {
        let (subject, before) = (Subject::Folder(at), before.map(Box::new));
        self.fresh.push(Event { kind, time: self.time, subject, parent, before, unread: None });
    }
}

impl Intake<'_> {
    /// A folder that gets another id by the move is followed by those who subscribed to it.
    pub(super) fn folder_moved(
        &mut self,
        mailbox: MailboxNo,
        time: Instant,
        counts: &[FolderCounts],
        moved: FolderRelocation,
    ) {
        let position = self.end();
        let mut numbers = None;
        self.with(mailbox, time, counts, |telling| {
            numbers = Some(telling.folder_moved(&moved.before, moved.after, position));
        });
        let Some((old, new)) = numbers.filter(|(old, new)| old != new) else {
            return;
        };
        self.state.subscriptions.follow(mailbox, old, new);
    }
}
