//! removeEventConfigurationRequest: nothing more is recorded under a key. Its records stay, as in GroupWise, until they
//! are removed or too old. Where there is no such key, nothing is wrong.

use super::status::Status;
use super::{Answer, Call};

/// Answers the operation.
pub fn answer(call: Call<'_>) -> Answer {
    let name = call.asked.text("key").ok_or(Status::BadParameter)?;
    let mailbox = call.mailbox()?;
    if let Some(number) = mailbox.and_then(|mailbox| call.state.events.find(mailbox, name)) {
        call.state.events.remove_configuration(number);
        call.turn.changed = true;
    }
    Ok(Vec::new())
}
