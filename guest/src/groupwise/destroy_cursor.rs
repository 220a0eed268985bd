//! destroyCursorRequest: a cursor is not needed any more.

use super::status::Status;
use super::{Answer, Call};

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    call.must_be_the_book()?;
    let number = call.cursor()?;
    let session = call.state.sessions.get_mut(call.session).ok_or(Status::InvalidSession)?;
    if !session.cursors.close(number) {
        return Err(Status::InvalidCursor);
    }
    call.turn.changed = true;
    Ok(Vec::new())
}
