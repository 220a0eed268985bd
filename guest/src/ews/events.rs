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

/// Writes events of one mailbox. Events that follow each other are mostly of one second and of one folder, whose date and
/// whose id are made once.
pub struct Writer<'w> {
    body: &'w mut Vec<u8>,
    mailbox: &'w Mailbox,
    /// By the second.
    date: Written<u64>,
    parent: Written<FolderAt>,
}

impl<'w> Writer<'w> {
    /// One that appends to a body.
    pub fn new(body: &'w mut Vec<u8>, mailbox: &'w Mailbox) -> Self {
        Self { body, mailbox, date: Written(None), parent: Written(None) }
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
        self.date.write(self.body, event.time / 1000, |body| body.date(event.time));
        self.body.raw("</t:TimeStamp>");
        item_ids::write_subject(self.body, "", self.mailbox, &event.subject);
        let write_parent = |body: &mut _| {
            item_ids::write_folder(body, &["ParentFolderId"], self.mailbox.id(), self.mailbox, event.parent);
        };
        self.parent.write(self.body, event.parent, write_parent);
        if let Some(before) = &event.before {
            item_ids::write_subject(self.body, "Old", self.mailbox, &before.subject);
            item_ids::write_folder(self.body, &["OldParentFolderId"], self.mailbox.id(), self.mailbox, before.parent);
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
}

/// What was written last, and where it stands.
struct Written<T>(Option<(T, Range<usize>)>);

impl<T: PartialEq> Written<T> {
    /// Writes something, or the same again.
    fn write(&mut self, body: &mut Vec<u8>, what: T, write: impl FnOnce(&mut Vec<u8>)) {
        match &self.0 {
            Some((last, range)) if *last == what => body.extend_from_within(range.clone()),
            _ => {
                let start = body.len();
                write(body);
                self.0 = Some((what, start..body.len()));
            }
        }
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
