//! createCursorRequest: a cursor at the start of the system address book.

use super::cursors::{Cursor, Gap};
use super::status::Status;
use super::{Answer, Call, get_items};
use crate::reply::Text;

/// How long a view may be that a cursor keeps, in bytes.
const MAX_VIEW: usize = 1024;

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    call.must_be_the_book()?;
    let filter = get_items::filter(&call)?;
    let view = call.asked.text("view").map(str::to_owned);
    if view.as_ref().is_some_and(|view| view.len() > MAX_VIEW) {
        return Err(Status::BadParameter);
    }
    let Call { state, turn, session, .. } = call;
    let most = state.settings.cursors_per_session;
    let cursor = Cursor { at: Gap::Start, view, filter };
    let opened = state.sessions.with_cursors(session, |cursors| cursors.open(cursor, most));
    let (number, closed) = opened.ok_or(Status::InvalidSession)?;
    state.sessions.cursors_displaced += closed;
    state.cut_sessions(Some(session), turn.at.now);
    turn.changed = true;
    let mut out = Vec::with_capacity(64);
    out.raw("<m:cursor>");
    out.number(number.unsigned_abs().into());
    out.raw("</m:cursor>");
    Ok(out)
}
