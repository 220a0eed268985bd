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
    let session = state.sessions.get_mut(session).ok_or(Status::InvalidSession)?;
    let most = state.settings.cursors_per_session;
    let (number, closed) = session.cursors.open(Cursor { at: Gap::Start, view, filter }, most);
    state.sessions.cursors_displaced += closed;
    turn.changed = true;
    let mut out = Vec::with_capacity(64);
    out.raw("<m:cursor>");
    out.number(number.unsigned_abs().into());
    out.raw("</m:cursor>");
    Ok(out)
}
