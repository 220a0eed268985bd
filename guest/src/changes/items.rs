//! Changes of items.

use super::Telling;
use crate::contract::Item;
use crate::history::{Before, Event, FolderAt, Kind, Subject};
use crate::mailboxes::FolderNo;

impl Telling<'_> {
    pub(super) fn delivered(&mut self, item: &Item) {
        let folder = self.arrived(item);
        self.tell_item(Kind::Created, item, folder);
        self.tell_item(Kind::NewMail, item, folder);
        let unread = &mut self.mailbox.folder_mut(folder).unread;
        *unread = unread.map(|known| known.saturating_add(1));
        let unread = *unread;
        self.touch(folder, unread);
    }

    pub(super) fn created(&mut self, item: &Item) {
        let folder = self.arrived(item);
        self.tell_item(Kind::Created, item, folder);
        self.touch(folder, None);
    }

    /// Something about an item that leaves its folder as it is.
    pub(super) fn altered(&mut self, kind: Kind, item: &Item) {
        let folder = self.mailbox.ensure(&item.folder);
        self.tell_item(kind, item, folder);
    }

    /// Some servers write a deletion after a move: what moved away from here is not deleted. What it says of the counts
    /// holds all the same.
    pub(super) fn deleted(&mut self, item: &Item) {
        let folder = self.mailbox.ensure(&item.folder);
        if self.mailbox.had_moved_away(folder, &item.id) {
            return;
        }
        self.tell_item(Kind::Deleted, item, folder);
        self.touch(folder, None);
    }

    pub(super) fn moved(&mut self, before: &Item, after: &Item) {
        let from = self.mailbox.ensure(&before.folder);
        self.mailbox.moved_away(from, &before.id);
        let to = self.arrived(after);
        self.tell_relocated(Kind::Moved, (before, from), (after, to));
        self.touch(from, None);
        self.touch(to, None);
    }

    pub(super) fn copied(&mut self, original: &Item, copy: &Item) {
        let from = self.mailbox.ensure(&original.folder);
        let to = self.arrived(copy);
        self.tell_relocated(Kind::Copied, (original, from), (copy, to));
        self.touch(to, None);
    }

    /// The folder that an item came to; one that came back is no longer away.
    fn arrived(&mut self, item: &Item) -> FolderNo {
        let folder = self.mailbox.ensure(&item.folder);
        self.mailbox.had_moved_away(folder, &item.id);
        folder
    }

    fn tell_item(&mut self, kind: Kind, item: &Item, folder: FolderNo) {
        let (subject, parent) = self.subject(item, folder);
        self.fresh.push(Event { kind, time: self.time, subject, parent, before: None, unread: None });
    }

    fn tell_relocated(&mut self, kind: Kind, before: (&Item, FolderNo), after: (&Item, FolderNo)) {
        let (old, old_parent) = self.subject(before.0, before.1);
        let (subject, parent) = self.subject(after.0, after.1);
        let before = Some(Box::new(Before { subject: old, parent: old_parent }));
        self.fresh.push(Event { kind, time: self.time, subject, parent, before, unread: None });
    }

    fn subject(&self, item: &Item, folder: FolderNo) -> (Subject, FolderAt) {
        let revision = item.revision.unwrap_or(self.mailbox.number);
        (Subject::Item { id: item.id.as_str().into(), revision }, self.mailbox.at(folder))
    }
}
