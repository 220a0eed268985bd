//! Events on the wire (`t:NotificationType`). The order of their children is fixed: strict clients read forward only.

use std::ops::Range;

use crate::history::{Event, FolderAt, Kind};
use crate::ids::Watermark;
use crate::mailboxes::Mailbox;
use crate::reply::Text;

use super::item_ids;

/// The name of an event's element.
pub fn element(kind: Kind) -> &'static str {
    match kind {
        Kind::Copied => "CopiedEvent",
        Kind::Created => "CreatedEvent",
        Kind::Deleted => "DeletedEvent",
        Kind::Modified => "ModifiedEvent",
        Kind::Moved => "MovedEvent",
        Kind::NewMail => "NewMailEvent",
        Kind::FreeBusyChanged => "FreeBusyChangedEvent",
    }
}

/// The kind with this name; clients subscribe by it.
pub fn kind(element: &str) -> Option<Kind> {
    Some(match element {
        "CopiedEvent" => Kind::Copied,
        "CreatedEvent" => Kind::Created,
        "DeletedEvent" => Kind::Deleted,
        "ModifiedEvent" => Kind::Modified,
        "MovedEvent" => Kind::Moved,
        "NewMailEvent" => Kind::NewMail,
        "FreeBusyChangedEvent" => Kind::FreeBusyChanged,
        _ => return None,
    })
}

/// Writes events of one mailbox.
pub struct Writer<'w> {
    body: &'w mut Vec<u8>,
    mailbox: &'w Mailbox,
    /// The last folder and where its id stands: events that follow each other are mostly of one, whose id is made once.
    parent: Option<(FolderAt, Range<usize>)>,
}

impl<'w> Writer<'w> {
    /// One that appends to a body.
    pub fn new(body: &'w mut Vec<u8>, mailbox: &'w Mailbox) -> Self {
        Self { body, mailbox, parent: None }
    }

    /// How long the body is.
    pub fn length(&self) -> usize {
        self.body.len()
    }

    /// Writes an event; pulled and pushed events begin with their watermark, streamed ones must not have one.
    pub fn write(&mut self, event: &Event, watermark: Option<&Watermark>) {
        let element = element(event.kind);
        self.body.raw("<t:");
        self.body.raw(element);
        self.body.raw(">");
        if let Some(watermark) = watermark {
            write_watermark(self.body, watermark);
        }
        self.body.raw("<t:TimeStamp>");
        self.body.date(event.time);
        self.body.raw("</t:TimeStamp>");
        item_ids::write_subject(self.body, "", self.mailbox, &event.subject);
        self.write_parent(event.parent);
        if let Some(before) = &event.before {
            item_ids::write_subject(self.body, "Old", self.mailbox, &before.subject);
            item_ids::write_folder(self.body, &["OldParentFolderId"], self.mailbox, before.parent);
        }
        if let Some(unread) = event.unread {
            self.body.raw("<t:UnreadCount>");
            self.body.number(u64::from(unread));
            self.body.raw("</t:UnreadCount>");
        }
        self.body.raw("</t:");
        self.body.raw(element);
        self.body.raw(">");
    }

    fn write_parent(&mut self, parent: FolderAt) {
        if let Some((last, range)) = &self.parent
            && *last == parent
        {
            return self.body.extend_from_within(range.clone());
        }
        let start = self.body.len();
        item_ids::write_folder(self.body, &["ParentFolderId"], self.mailbox, parent);
        self.parent = Some((parent, start..self.body.len()));
    }
}

/// Writes the event that stands for "nothing happened".
pub fn write_status(body: &mut Vec<u8>, watermark: &Watermark) {
    body.raw("<t:StatusEvent>");
    write_watermark(body, watermark);
    body.raw("</t:StatusEvent>");
}

fn write_watermark(body: &mut Vec<u8>, watermark: &Watermark) {
    body.raw("<t:Watermark>");
    body.base64url(watermark);
    body.raw("</t:Watermark>");
}
