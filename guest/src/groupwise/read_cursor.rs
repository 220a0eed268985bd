//! readCursorRequest: the next items of a cursor, forward or backward. No items: that is the end.

use super::cursors::{Cursor, Gap};
use super::items;
use super::position_cursor::seek;
use super::status::Status;
use super::view::View;
use super::{Answer, Call};
use crate::book::Book;
use crate::reply::Text;
use crate::state::State;

/// Answers the operation. Without a count, and with 0, as many items as fit into one answer are read.
pub fn answer(call: Call<'_>) -> Answer {
    call.must_be_the_book()?;
    let number = call.cursor()?;
    let seek = seek(call.asked.text("position"))?;
    let forward = match &seek {
        Some(Gap::Start) => true,
        Some(_) => false,
        None => call.asked.flag("forward", true)?,
    };
    let most = call.asked.count()?.filter(|count| *count > 0).unwrap_or(u64::MAX);
    let State { sessions, book, .. } = &mut *call.state;
    let session = sessions.get_mut(call.session).ok_or(Status::InvalidSession)?;
    let cursor = session.cursors.get_mut(number).ok_or(Status::InvalidCursor)?;
    let before = cursor.at.clone();
    cursor.at = seek.unwrap_or(cursor.at.clone());
    let mut out = Vec::with_capacity(4096);
    out.raw("<m:items>");
    let at_end = read(&mut out, cursor, book, forward, usize::try_from(most).unwrap_or(usize::MAX));
    out.raw("</m:items>");
    call.turn.changed |= cursor.at != before;
    if at_end && forward && cursor.filter.is_none() {
        call.has_read_all();
    }
    Ok(out)
}

/// Reads so many items, or as many as fit, and moves the cursor behind the last one; whether there are no more.
fn read(out: &mut Vec<u8>, cursor: &mut Cursor, book: &Book, forward: bool, most: usize) -> bool {
    let mut entries = cursor.entries(&book.entries, forward);
    let (mut last, mut left) = (None, most);
    let at_end = loop {
        if left == 0 {
            break false;
        }
        let Some(found) = entries.next() else {
            break true;
        };
        let view = View::of(cursor.view.as_deref());
        if !items::if_it_fits(out, |out| items::write(out, "item", book, &found, view, None)) {
            break false;
        }
        (last, left) = (Some(Box::from(found.id)), left - 1);
    };
    drop(entries);
    if let Some(id) = last {
        cursor.at = if forward { Gap::After(id) } else { Gap::Before(id) };
    }
    at_end
}
