//! The notification: a connection to an application's address, a line for each key that has something to tell, and its
//! end (events.xsd, Notify). What has happened is not in it: the application asks by getEvents, and hears again only
//! after it asked for that (`notify`).
//!
//! Whoever listens for the line as a server of today writes it looks for the namespace of its beta; whoever goes by the
//! schema looks for the one that is there. So each key has a line of either kind.
//!
//! A call that fails is made again after 30 seconds, then after twice as long each time; after the sixth the keys leave
//! the notification list as if they had been told. An address that the host will not call is given up at once.

use super::lines::{Line, Target};
use super::{Key, KeyNo};
use crate::contract::{Call, CallId, CallTarget, LogLevel, Outcome, TcpTarget};
use crate::groupwise::login;
use crate::mailboxes::Mailboxes;
use crate::reply::Text;
use crate::state::State;
use crate::turn::Turn;

/// The namespaces of the line: as GroupWise of today writes it, and as the schema has it.
const NAMESPACES: [&str; 2] = ["urn:novell:schemas:ns:events", "http://schemas.novell.com/2005/01/GroupWise/events"];

/// Above this many bytes a call takes no further key.
const MAX_BODY: usize = 48 << 10;

/// The wait after the first failure, in milliseconds.
const FIRST_WAIT_MS: u64 = 30_000;

/// After so many failures in a row an application is given up.
const MAX_FAILURES: u32 = 6;

/// How many bytes of the host's reason for a failure are logged.
const MAX_REASON: usize = 120;

/// Lets applications be told that are to be, while the reaction has room.
pub fn serve(state: &mut State, turn: &mut Turn) {
    while turn.has_room_for_a_call() {
        let Some((target, keys)) = state.events.lines.next_ready() else {
            break;
        };
        let (target, (told, body)) = (target.clone(), compose(state, keys));
        state.last_call += 1;
        let (call, failures) = (state.last_call, state.events.lines.failures(&target));
        let (address, port) = target.clone();
        turn.changed = true;
        turn.call(Call { id: call, target: CallTarget::Tcp(TcpTarget { address, port }), body });
        for number in &told {
            state.events.with_key(*number, |key| (key.armed, key.owed) = (false, false));
        }
        state.events.lines.set(target, Line::Calling { call, told, failures });
    }
}

/// The keys that one call tells of, and what it says.
fn compose(state: &State, keys: impl Iterator<Item = KeyNo>) -> (Vec<KeyNo>, Vec<u8>) {
    let (mut told, mut body) = (Vec::new(), Vec::with_capacity(256));
    for number in keys {
        if body.len() > MAX_BODY {
            break;
        }
        if let Some(key) = state.events.get(number) {
            write(&mut body, &state.mailboxes, key);
            told.push(number);
        }
    }
    (told, body)
}

fn write(out: &mut Vec<u8>, mailboxes: &Mailboxes, key: &Key) {
    for namespace in NAMESPACES {
        out.raw("<notify xmlns='");
        out.raw(namespace);
        out.raw("'><userid>");
        out.text(login::userid(mailboxes.get(key.mailbox).name()));
        out.raw("</userid><key>");
        out.text(&key.name);
        out.raw("</key></notify>\r\n");
    }
}

/// How a call ended; whether it was one of these.
pub fn finish(state: &mut State, turn: &mut Turn, call: CallId, outcome: &Outcome) -> bool {
    let lines = &mut state.events.lines;
    let Some(target) = lines.of_call(call).cloned() else {
        return false;
    };
    let Some(Line::Calling { told, failures, .. }) = lines.clear(&target) else {
        return false;
    };
    turn.changed = true;
    match outcome {
        Outcome::Answered(_) => state.events.counts.told += told.len() as u64,
        Outcome::Failed(_) if failures + 1 < MAX_FAILURES => wait(state, turn, target, &told, failures + 1),
        Outcome::Failed(reason) => {
            state.events.counts.failed += told.len() as u64;
            give_up(turn, &target, LogLevel::Info, reason);
        }
        Outcome::Refused(reason) => {
            state.events.counts.refused += told.len() as u64;
            give_up(turn, &target, LogLevel::Warn, reason);
        }
    }
    true
}

fn wait(state: &mut State, turn: &Turn, target: Target, told: &[KeyNo], failures: u32) {
    let until = turn.at.now.saturating_add(FIRST_WAIT_MS << (failures - 1));
    state.events.lines.set(target, Line::Waiting { until, failures });
    for number in told {
        state.events.with_key(*number, Key::arm_again);
    }
}

fn give_up(turn: &mut Turn, target: &Target, level: LogLevel, reason: &str) {
    let reason: String = reason.chars().filter(|character| !character.is_control()).take(MAX_REASON).collect();
    turn.log(level, ["a GroupWise application is given up; it listens at ", &target.0, ": ", &reason].concat());
}

/// The host came back: what became of the calls in flight is not known, so they are made again.
pub fn restart(state: &mut State) {
    let calls: Vec<_> = state.events.lines.calls().collect();
    for call in calls {
        let target = state.events.lines.of_call(call).cloned();
        let line = target.and_then(|target| state.events.lines.clear(&target));
        if let Some(Line::Calling { told, .. }) = line {
            for number in told {
                state.events.with_key(number, Key::arm_again);
            }
        }
    }
}
