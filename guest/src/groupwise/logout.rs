//! logoutRequest: the session ends.

use super::{Answer, Call};

/// Answers the operation. The host revokes the session's token.
pub fn answer(call: Call<'_>) -> Answer {
    call.turn.changed = true;
    call.state.sessions.end(call.session, &call.state.settings);
    Ok(Vec::new())
}
