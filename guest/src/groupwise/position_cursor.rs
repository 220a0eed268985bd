//! positionCursorRequest: a cursor goes to the start or the end, or stays, and then so many items on or back.

use super::cursors::Gap;
use super::status::Status;
use super::{Answer, Call};

/// Answers the operation. Beyond the start or the end a cursor does not go.
pub fn answer(call: Call<'_>) -> Answer {
    call.must_be_the_book()?;
    let number = call.cursor()?;
    let seek = seek(call.asked.text("seek"))?;
    let offset = call.asked.number("offset")?.unwrap_or(0);
    let Call { state, turn, session, .. } = call;
    let session = state.sessions.get_mut(session).ok_or(Status::InvalidSession)?;
    let cursor = session.cursors.get_mut(number).ok_or(Status::InvalidCursor)?;
    let mut moved = cursor.clone();
    moved.at = seek.unwrap_or(moved.at);
    moved.step(&state.book.entries, offset, state.settings.search_bytes)?;
    turn.changed |= cursor.at != moved.at;
    *cursor = moved;
    Ok(Vec::new())
}

/// Where a cursor is to go first; none: it stays where it is (CursorSeek).
pub fn seek(word: Option<&str>) -> Result<Option<Gap>, Status> {
    match word {
        None | Some("current") => Ok(None),
        Some("start") => Ok(Some(Gap::Start)),
        Some("end") => Ok(Some(Gap::End)),
        Some(_) => Err(Status::BadParameter),
    }
}
