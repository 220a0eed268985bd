//! Events on the wire (`t:NotificationType`). The order of their children is fixed: strict clients read forward only.

use crate::history::{Event, Kind};
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

/// Writes an event; pulled and pushed events begin with their watermark, streamed ones must not have one.
pub fn write(body: &mut Vec<u8>, mailbox: &Mailbox, event: &Event, watermark: Option<&str>) {
    let element = element(event.kind);
    body.raw("<t:");
    body.raw(element);
    body.raw(">");
    if let Some(watermark) = watermark {
        write_watermark(body, watermark);
    }
    body.raw("<t:TimeStamp>");
    body.date(event.time);
    body.raw("</t:TimeStamp>");
    item_ids::write_subject(body, "", mailbox, &event.subject);
    item_ids::write_folder(body, &["ParentFolderId"], mailbox, event.parent);
    if let Some(before) = &event.before {
        item_ids::write_subject(body, "Old", mailbox, &before.subject);
        item_ids::write_folder(body, &["OldParentFolderId"], mailbox, before.parent);
    }
    if let Some(unread) = event.unread {
        body.raw("<t:UnreadCount>");
        body.number(u64::from(unread));
        body.raw("</t:UnreadCount>");
    }
    body.raw("</t:");
    body.raw(element);
    body.raw(">");
}

/// Writes the event that stands for "nothing happened".
pub fn write_status(body: &mut Vec<u8>, watermark: &str) {
    body.raw("<t:StatusEvent>");
    write_watermark(body, watermark);
    body.raw("</t:StatusEvent>");
}

fn write_watermark(body: &mut Vec<u8>, watermark: &str) {
    body.raw("<t:Watermark>");
    body.raw(watermark);
    body.raw("</t:Watermark>");
}
