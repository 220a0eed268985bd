//! getDeltaInfoRequest: which deltas of the system address book there are, and when the book was rebuilt.

use super::{Answer, Call, delta_info};

/// Answers the operation. A client that takes unread deltas for read is told that the deltas begin after them, so that
/// it reads the whole address book.
pub fn answer(call: Call<'_>) -> Answer {
    call.must_be_the_book()?;
    let Call { state, session, .. } = call;
    let deltas = &state.book.deltas;
    let skipped = state.sessions.get(session).is_some_and(|session| session.skipped.is_some());
    let first = if skipped { deltas.last() + 1 } else { deltas.first() };
    let mut out = Vec::with_capacity(200);
    delta_info::write(&mut out, &state.book, None, first, deltas.last());
    Ok(out)
}
