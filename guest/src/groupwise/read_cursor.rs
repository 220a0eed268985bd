//! readCursorRequest: the next items of a cursor, forward or backward. No items: that is the end.
//!
//! A search that has looked at too much gives what it found, or, if that is nothing, its status: asked again, it goes on
//! from there.

use super::cursors::{Cursor, Gap};
use super::filter::Search;
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
    let State { sessions, book, settings, .. } = &mut *call.state;
    let session = sessions.get_mut(call.session).ok_or(Status::InvalidSession)?;
    let cursor = session.cursors.get_mut(number).ok_or(Status::InvalidCursor)?;
    let before = cursor.at.clone();
    cursor.at = seek.unwrap_or(cursor.at.clone());
    let mut out = Vec::with_capacity(4096);
    out.raw("<m:items>");
    let at_end = read(&mut out, cursor, book, forward, most, settings.search_bytes);
    out.raw("</m:items>");
    call.turn.changed |= cursor.at != before;
    if at_end? && forward && cursor.filter.is_none() {
        call.has_read_all();
    }
    Ok(out)
}

/// Reads so many items, or as many as fit, and moves the cursor behind the last one that it looked at; whether there are
/// no more.
fn read(
    out: &mut Vec<u8>,
    cursor: &mut Cursor,
    book: &Book,
    forward: bool,
    most: u64,
    search_bytes: u64,
) -> Result<bool, Status> {
    let mut search = Search::new(cursor.filter.as_ref(), search_bytes);
    let mut entries = cursor.entries(&book.entries, forward);
    let (mut last, mut left) = (None, most);
    let at_end = loop {
        if left == 0 {
            break Ok(false);
        }
        let Some(found) = entries.next() else {
            break Ok(true);
        };
        match search.passes(&found) {
            Ok(false) => {}
            Ok(true) => {
                let view = View::of(cursor.view.as_deref());
                if !items::if_it_fits(out, |out| items::write(out, "item", book, &found, view, None)) {
                    break Ok(false);
                }
                left -= 1;
            }
            Err(status) if left == most => break Err(status),
            Err(_) => break Ok(false),
        }
        last = Some(Box::from(found.id));
    };
    drop(entries);
    if let Some(id) = last {
        cursor.at = if forward { Gap::After(id) } else { Gap::Before(id) };
    }
    at_end
}
