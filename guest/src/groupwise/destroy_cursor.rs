//! destroyCursorRequest: a cursor is not needed any more.

use super::status::Status;
use super::{Answer, Call};

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    call.must_be_the_book()?;
    let number = call.cursor()?;
    let closed = call.state.sessions.with_cursors(call.session, |cursors| cursors.close(number));
    if !closed.ok_or(Status::InvalidSession)? {
        return Err(Status::InvalidCursor);
    }
    call.turn.changed = true;
    Ok(Vec::new())
}
