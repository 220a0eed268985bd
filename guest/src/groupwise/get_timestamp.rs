//! getTimestampRequest: with `noop`, all that it does is to keep the session alive.
//!
//! The times of backups and of retention are not known here, so they are not in the answer.

use super::{Answer, Call};

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    for name in ["backup", "retention", "noop", "retentionModified"] {
        call.asked.flag(name, false)?;
    }
    Ok(Vec::new())
}
