//! Requests that wait: answered once their set has news, displaced by the next one, or their time is over. And what
//! time does to sets that nobody uses.

use super::call::header;
use super::sets::{Errors, SetNo, Sets, Waiter};
use super::wait_set::{canceled, tell};
use super::wire::{self, Node};
use crate::contract::{Gauge, Instant, RequestId};
use crate::mailboxes::MailboxNo;
use crate::state::State;
use crate::turn::{MAX_TIMERS, Turn};

/// By how much a mailbox's own change numbers go on after changes were lost, so that no token of a client is ahead.
const SKIPPED_CHANGES: u64 = 1_000_000;

/// Notes that a set is used. It moves only when more than a sixteenth of its idle life is over, so that most uses leave
/// the state as it was.
pub fn touch(state: &mut State, turn: &mut Turn, number: SetNo) {
    let now = turn.at.now;
    let stale = |accessed: Instant, idle_ms: u64| now > accessed.saturating_add(idle_ms / 16);
    if state.waitsets.get(number).is_some_and(|set| stale(set.accessed, set.idle_ms)) {
        turn.changed = true;
        state.waitsets.alter(number, |set| set.accessed = now);
    }
}

/// The waiter of a set is told that it waits no longer.
pub fn cancel(state: &mut State, turn: &mut Turn, number: SetNo) {
    if let Some(mut waiter) = take(&mut state.waitsets, turn.at.now, number) {
        if !turn.has_room() {
            waiter.asked.errors = Errors::new();
        }
        turn.changed = true;
        let node = canceled(state, number, &waiter);
        send(state, turn, &waiter, node);
    }
}

/// A set ends; its waiter is told so.
pub fn destroy(state: &mut State, turn: &mut Turn, number: SetNo) {
    cancel(state, turn, number);
    turn.changed = true;
    state.waitsets.remove(number);
}

fn take(sets: &mut Sets, now: Instant, number: SetNo) -> Option<Box<Waiter>> {
    sets.get(number)?.waiter.as_ref()?;
    sets.alter(number, |set| {
        set.accessed = now;
        set.waiter.take()
    })?
}

fn send(state: &State, turn: &mut Turn, waiter: &Waiter, node: Node) {
    let header = header(&state.mailboxes, &waiter.form.account, waiter.form.session.as_deref());
    turn.answer(waiter.request, wire::reply(waiter.form.format, 200, header, node));
}

/// Answers those whose sets have news, and those whose time is over, in turn, as far as the reaction has room.
pub fn serve(state: &mut State, turn: &mut Turn) {
    while turn.has_room() {
        let Some(number) = state.waitsets.next_ready() else {
            break;
        };
        turn.changed = true;
        state.waitsets.served = number;
        let Some(waiter) = take(&mut state.waitsets, turn.at.now, number) else {
            break;
        };
        let node = tell(state, number, &waiter.asked, &waiter.form);
        send(state, turn, &waiter, node);
    }
}

/// Whether somebody is still to be answered.
pub fn wait(state: &State) -> bool {
    state.waitsets.next_ready().is_some()
}

/// Lets run out what is due: the time of waiters, the life of sets that nobody uses.
pub fn run_timers(state: &mut State, turn: &mut Turn) {
    for _ in 0..MAX_TIMERS {
        let Some((due, number)) = state.waitsets.next_timer().filter(|(due, _)| *due <= turn.at.now) else {
            break;
        };
        debug_assert!(due <= turn.at.now, "timers come in their order");
        turn.changed = true;
        if state.waitsets.get(number).is_some_and(|set| set.waiter.is_some()) {
            state.waitsets.alter(number, |set| set.waiter.iter_mut().for_each(|waiter| waiter.over = true));
        } else {
            state.waitsets.expired += 1;
            state.waitsets.remove(number);
        }
    }
}

/// A request has ended without its answer: nobody waits any more, and what there is to tell stays.
pub fn settle(state: &mut State, turn: &mut Turn, request: RequestId) {
    if let Some(number) = state.waitsets.waited_for(request) {
        turn.changed = true;
        take(&mut state.waitsets, turn.at.now, number);
    }
}

/// The host lost its connections: nobody waits any more, and idle lives last as much longer as it was down.
pub fn restart(state: &mut State, now: Instant, down_ms: u64) {
    let numbers: Vec<SetNo> = state.waitsets.iter().map(|(number, _)| number).collect();
    for number in numbers {
        let had_waiter = take(&mut state.waitsets, now, number).is_some();
        if !had_waiter && down_ms > 0 {
            state.waitsets.alter(number, |set| set.accessed = set.accessed.saturating_add(down_ms));
        }
    }
}

/// Clients were told what this state does not know. Every set ends, and they make new ones; tokens that they hold must
/// not be ahead of what comes, so the numbers that are given here go on further up.
pub fn regress(state: &mut State) {
    state.waitsets.clear();
    let numbers: Vec<MailboxNo> = state.mailboxes.iter().map(|(number, _)| number).collect();
    for number in numbers {
        let mailbox = state.mailboxes.get_mut(number);
        if mailbox.numbers.own_changes {
            mailbox.number = mailbox.number.saturating_add(SKIPPED_CHANGES);
        }
    }
}

/// The host is about to stop: everybody who waits is answered with what there is.
pub fn drain(state: &mut State, turn: &mut Turn) {
    let numbers: Vec<SetNo> = state.waitsets.waiting().map(|(_, number)| number).collect();
    turn.changed |= !numbers.is_empty();
    for number in numbers {
        state.waitsets.alter(number, |set| set.waiter.iter_mut().for_each(|waiter| waiter.over = true));
    }
}

/// Figures about WaitSets.
pub fn gauges(state: &State) -> Vec<Gauge> {
    let counts = state.waitsets.counts();
    let gauge = |name: &str, label: Option<(&str, &str)>, value: u64| Gauge {
        name: name.to_owned(),
        labels: label.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        value: value as f64,
    };
    vec![
        gauge("wait_sets", Some(("kind", "chosen_accounts")), counts.chosen as u64),
        gauge("wait_sets", Some(("kind", "all_accounts")), counts.everyone as u64),
        gauge("wait_set_members", None, counts.members as u64),
        gauge("wait_set_requests", None, counts.waiting as u64),
        gauge("wait_set_commits", None, state.waitsets.commits.len() as u64),
        gauge("wait_sets_ended", Some(("why", "evicted")), state.waitsets.evicted),
        gauge("wait_sets_ended", Some(("why", "idle")), state.waitsets.expired),
        gauge("wait_sets_refused", None, state.waitsets.refused),
    ]
}
