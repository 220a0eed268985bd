//! One reaction, and what the plugin then says is open, against the contract.

use std::collections::BTreeSet;

use super::conversation::{Conversation, Step};
use super::rules::{Judge, Rule};
use crate::contract::changes::Batch;
use crate::contract::lifecycle::{Gauge, Pending};
use crate::contract::types::{Place, Reaction};
use crate::journal::Input;
use crate::tenant::{Guard, Limits};

/// How many calls may wait for their outcomes: as many as `[push] calls`, the default of the program.
const MOST_CALLS: usize = 1_000;

/// How many bytes the reason of a rejection may have.
const MOST_REASON: usize = 200;

/// How many ticks in a row may do nothing that anybody sees, within [`SHORT`] milliseconds of the tenant's time.
const MOST_IDLE_TICKS: u32 = 1_000;
const SHORT: u64 = 60_000;

/// Judges reaction after reaction.
pub(super) struct Reactions {
    guard: Guard,
    idle: u32,
    idle_since: u64,
}

impl Reactions {
    pub(super) fn new() -> Reactions {
        Reactions { guard: Guard::after_load(&[], &[], Limits::default().reaction_bytes), idle: 0, idle_since: 0 }
    }

    /// Judges what came of a step. The conversation has not heard of it yet.
    pub(super) fn judge(&mut self, judge: &mut Judge, place: &str, step: &Step, reaction: &Reaction, calls: usize) {
        let Step { at, input, stale } = step;
        judge.rule(Rule::Reactions, place, self.guard.check_reaction(input, reaction).err());
        judge.rule(Rule::Reactions, place, broken(input, reaction, calls));
        if *stale {
            let ignored = !reaction.changed && reaction.replies.is_empty() && reaction.calls.is_empty();
            judge.holds(Rule::Settlements, place, ignored, || {
                "it concerns a request or call that is not known, and is not ignored".into()
            });
        }
        judge.rule(Rule::WakeUps, place, self.guard.check_wake_up(at.now, input, reaction).err());
        if matches!(input, Input::Tick) {
            judge.rule(Rule::WakeUps, place, self.idle_tick(at.now, reaction));
        }
    }

    /// Idle ticks are counted from here.
    pub(super) fn rest(&mut self) {
        self.idle = 0;
    }

    fn idle_tick(&mut self, now: u64, reaction: &Reaction) -> Option<String> {
        let asks = reaction.wake_at.filter(|_| reaction.replies.is_empty() && reaction.calls.is_empty());
        if asks.is_none() {
            self.idle = 0;
            return None;
        }
        if self.idle == 0 {
            self.idle_since = now;
        }
        self.idle += 1;
        let span = now - self.idle_since;
        if self.idle < MOST_IDLE_TICKS {
            return None;
        }
        self.idle = 0;
        (span < SHORT).then(|| format!("{MOST_IDLE_TICKS} ticks within {span} ms did nothing that anybody sees"))
    }
}

/// What a host's guard leaves to logs and limits.
fn broken(input: &Input, reaction: &Reaction, calls: usize) -> Option<String> {
    let Reaction { calls: made, rejections, logs, .. } = reaction;
    if calls + made.len() > MOST_CALLS {
        return Some(format!("{} calls wait for their outcomes; a host makes {MOST_CALLS}", calls + made.len()));
    }
    if let Some(line) = logs.iter().find(|line| line.message.contains(['\n', '\r'])) {
        return Some(format!("a line for the log has a line break: {:?}", shortened(&line.message)));
    }
    if let Some(long) = rejections.iter().find(|rejection| rejection.reason.len() > MOST_REASON) {
        return Some(format!("the reason of a rejection has {} bytes", long.reason.len()));
    }
    let Input::Ingest { batch, .. } = input else { return None };
    let mut places = BTreeSet::new();
    for rejection in rejections {
        if !is_in(&rejection.place, batch) {
            return Some(format!("a rejection of {:?}, which is not in the batch", rejection.place));
        }
        if !places.insert(format!("{:?}", rejection.place)) {
            return Some(format!("two rejections of {:?}", rejection.place));
        }
    }
    None
}

fn is_in(place: &Place, batch: &Batch) -> bool {
    match *place {
        Place::Change((group, index)) => {
            batch.accounts.get(group as usize).is_some_and(|group| (index as usize) < group.changes.len())
        }
        Place::Book(index) => (index as usize) < batch.book.len(),
    }
}

/// Judges what `outstanding` says after a step of which the conversation has heard.
pub(super) fn pending(
    judge: &mut Judge,
    place: &str,
    step: &Step,
    reaction: &Reaction,
    said: &Pending,
    told: &Conversation,
) {
    let rule = match &step.input {
        Input::Answer(_) => Rule::Answers,
        Input::Settled(_) | Input::Finished { .. } => Rule::Settlements,
        Input::Restarted(_) | Input::Drain => Rule::Restarts,
        _ => Rule::Outstanding,
    };
    judge.rule(rule, place, lacking(&said.requests, &told.known_requests()));
    judge.rule(rule, place, excess("request", &said.requests, &told.known_requests()));
    judge.rule(rule, place, excess("call", &said.calls, &told.known_calls()));
    judge.holds(Rule::Outstanding, place, said.wake_at == reaction.wake_at, || {
        format!("`outstanding` asks for a tick at {:?}, the reaction for one at {:?}", said.wake_at, reaction.wake_at)
    });
}

/// A plugin may have lost interest in a call, but not in a request.
fn lacking(said: &[u64], known: &[u64]) -> Option<String> {
    let lacking = known.iter().find(|request| said.binary_search(request).is_err());
    lacking.map(|request| format!("`outstanding` does not name request {request}, which is open"))
}

fn excess(what: &str, said: &[u64], known: &[u64]) -> Option<String> {
    if let Some(more) = said.iter().find(|number| known.binary_search(number).is_err()) {
        return Some(format!("`outstanding` names {what} {more}, which is not open"));
    }
    let ascending = said.is_sorted_by(|one, next| one < next);
    (!ascending).then(|| format!("`outstanding` does not name each {what} once, in ascending order"))
}

/// What is wrong with the figures that `inspect` gives.
pub(super) fn figures(gauges: &[Gauge]) -> Option<String> {
    let mut names = BTreeSet::new();
    for Gauge { name, labels, value } in gauges {
        if value.is_nan() {
            return Some(format!("`inspect` gives NaN for {name:?}"));
        }
        if !names.insert((name, labels)) {
            return Some(format!("`inspect` gives {name:?} twice with the same labels"));
        }
    }
    None
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
