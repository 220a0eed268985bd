//! removeEventsRequest: removes the records of a key, all or those of some time. Where there are none, nothing is wrong.

use super::get_events::Range;
use super::status::Status;
use super::{Answer, Call};

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    let range = Range::of(call.asked)?;
    match call.key() {
        Ok((_, number)) => {
            let Call { state, turn, .. } = call;
            turn.changed |= state.events.touch(number, turn.at.now);
            turn.changed |= state.events.remove_records(number, |uid, occurrence| range.holds(uid, occurrence)) > 0;
            Ok(Vec::new())
        }
        Err(Status::NoSuchKey) => Ok(Vec::new()),
        Err(status) => Err(status),
    }
}
