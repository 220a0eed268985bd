//! Changes of items.

use super::{Reckoned, Telling};
use crate::contract::{Item, ItemAlteration};
use crate::history::{Before, Event, FolderAt, Kind, Subject};
use crate::mailboxes::FolderNo;

impl Telling<'_> {
    pub(super) fn delivered(&mut self, item: Item) {
        let folder = self.arrived(&item);
        self.reckon(folder, Some(i64::from(!is_seen(item.flags))), 1);
        let (subject, parent) = self.subject(item, folder);
        self.tell_item(Kind::Created, subject.clone(), parent);
        self.tell_item(Kind::NewMail, subject, parent);
        self.touch(folder, None);
    }

    pub(super) fn created(&mut self, item: Item) {
        let folder = self.arrived(&item);
        self.reckon(folder, if_seen(&item), 1);
        let (subject, parent) = self.subject(item, folder);
        self.tell_item(Kind::Created, subject, parent);
        self.touch(folder, None);
    }

    /// An alteration that leaves the folder as it is, but perhaps for its count of unread items.
    pub(super) fn modified(&mut self, alteration: ItemAlteration) {
        let unread = became_unread(&alteration);
        let folder = self.altered(Kind::Modified, alteration.item);
        self.reckon(folder, unread, 0);
    }

    /// Something about an item that leaves its folder as it is.
    pub(super) fn altered(&mut self, kind: Kind, item: Item) -> FolderNo {
        let folder = self.mailbox.ensure(&item.folder);
        let (subject, parent) = self.subject(item, folder);
        self.tell_item(kind, subject, parent);
        folder
    }

    /// Some servers write a deletion after a move: what moved away from here is not deleted. What it says of the counts
    /// holds all the same.
    pub(super) fn deleted(&mut self, item: Item) {
        let folder = self.mailbox.ensure(&item.folder);
        if self.mailbox.had_moved_away(folder, &item.id) {
            return;
        }
        let (subject, parent) = self.subject(item, folder);
        self.tell_item(Kind::Deleted, subject, parent);
        self.reckon(folder, None, -1);
        self.touch(folder, None);
    }

    pub(super) fn moved(&mut self, before: Item, after: Item) {
        let from = self.mailbox.ensure(&before.folder);
        self.mailbox.moved_away(from, &before.id);
        let to = self.arrived(&after);
        self.reckon(from, None, -1);
        self.reckon(to, if_seen(&after), 1);
        self.tell_relocated(Kind::Moved, (before, from), (after, to));
        self.touch(from, None);
        self.touch(to, None);
    }

    pub(super) fn copied(&mut self, original: Item, copy: Item) {
        let from = self.mailbox.ensure(&original.folder);
        let to = self.arrived(&copy);
        self.reckon(to, if_seen(&copy), 1);
        self.tell_relocated(Kind::Copied, (original, from), (copy, to));
        self.touch(to, None);
    }

    /// What becomes of a folder's counts where no source tells: unread items grow by `unread`, if that is known, all by
    /// `total`.
    fn reckon(&mut self, folder: FolderNo, unread: Option<i64>, total: i64) {
        self.reckoned.push(Reckoned { folder, unread, total });
    }

    /// The folder that an item came to; one that came back is no longer away.
    fn arrived(&mut self, item: &Item) -> FolderNo {
        let folder = self.mailbox.ensure(&item.folder);
        self.mailbox.had_moved_away(folder, &item.id);
        folder
    }

    fn tell_item(&mut self, kind: Kind, subject: Subject, parent: FolderAt) {
        self.fresh.push(Event { kind, time: self.time, subject, parent, before: None, unread: None });
    }

    fn tell_relocated(&mut self, kind: Kind, before: (Item, FolderNo), after: (Item, FolderNo)) {
        let (old, old_parent) = self.subject(before.0, before.1);
        let (subject, parent) = self.subject(after.0, after.1);
        let before = Some(Box::new(Before { subject: old, parent: old_parent }));
        self.fresh.push(Event { kind, time: self.time, subject, parent, before, unread: None });
    }

    fn subject(&self, item: Item, folder: FolderNo) -> (Subject, FolderAt) {
        let revision = item.revision.unwrap_or(self.mailbox.number);
        (Subject::Item { id: item.id.into(), revision }, self.mailbox.at(folder))
    }
}

/// By how much a folder's count of unread items grows by an item that came to it: only one that was read is known not to
/// count, because a source need not tell flags.
fn if_seen(item: &Item) -> Option<i64> {
    is_seen(item.flags).then_some(0)
}

/// By how much an alteration makes the count of unread items grow; none: that cannot be told.
fn became_unread(alteration: &ItemAlteration) -> Option<i64> {
    let ItemAlteration { item, flags_before, fields, .. } = alteration;
    let may_be_flags = fields.is_empty() || fields.iter().any(|field| field == "flags");
    match flags_before {
        Some(before) => Some(i64::from(is_seen(*before)) - i64::from(is_seen(item.flags))),
        None => (!may_be_flags).then_some(0),
    }
}

/// Whether the bit of `\Seen` is set.
fn is_seen(flags: u64) -> bool {
    flags & 1 != 0
}
