//! cleanEventConfigurationRequest: the nightly maintenance of this account, now; with `all`, all its keys and records go.

use super::{Answer, Call};

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    let all = call.asked.flag("all", false)?;
    let mailbox = call.mailbox()?;
    let Call { state, turn, .. } = call;
    if let Some(mailbox) = mailbox {
        turn.changed |= if all { state.events.remove_all(mailbox) } else { state.events.clean(mailbox, turn.at.now) };
    }
    Ok(Vec::new())
}
