//! What happens after the feeding: inputs are committed, then what they brought is carried out, in order.

use tokio::sync::oneshot;

use super::{Actor, Beginning, Live, Next};
use crate::OpenError;
use crate::clock::Stopwatch;
use crate::contract::outbound;
use crate::contract::types::{Call, LogLevel, LogLine, Reaction, Reply};
use crate::journal::{Append, Chain, JournalError, Outcome};
use crate::outbound::Done;
use crate::plugin::Pin;
use crate::tenant::answer::Woken;
use crate::tenant::calls::Start;
use crate::tenant::open_requests::Delivery;
use crate::tenant::shard::Command;
use crate::tenant::swap::{Report, Step, Swap, SwapError};
use crate::tenant::{IngestError, Ingested, RequestError, tenure};

/// How long the first retry after two failed appends waits, in milliseconds; each further one twice as long.
const RETRY_MILLISECONDS: u64 = 500;

/// The longest that a retry waits, in milliseconds.
const LONGEST_RETRY_MILLISECONDS: u64 = 30_000;

/// What is released once the inputs before it are committed.
pub(super) enum Release {
    Reaction(Reaction),
    /// What a batch brought that was accepted then.
    Woken(Stopwatch, Reaction),
    Ingest(oneshot::Sender<Result<Ingested, IngestError>>, Result<Ingested, IngestError>),
    Offset(oneshot::Sender<Result<u64, IngestError>>, u64),
    Configured(oneshot::Sender<Result<(), String>>, Reaction),
    Opened(Box<Beginning>),
    Close(oneshot::Sender<()>),
    Left(oneshot::Sender<()>),
    Swapped(Box<(Report, Swap, Pin)>),
}

/// How many bytes of a plugin's log line are logged.
const LOG_LINE_BYTES: usize = 2_048;

/// How long clients have to acknowledge their last parts when the tenant closes, in milliseconds: what they have not
/// acknowledged by then comes to them again.
const FAREWELL_MILLISECONDS: u64 = 5_000;

/// A tenant that is closing.
pub(super) struct Farewell {
    respond: oneshot::Sender<()>,
    /// When it ends in any case, in monotonic time.
    pub(super) until: u64,
}

impl Release {
    pub(super) fn replies(&self) -> &[Reply] {
        self.reaction().map_or(&[], |reaction| &reaction.replies)
    }

    pub(super) fn calls(&self) -> &[Call] {
        self.reaction().map_or(&[], |reaction| &reaction.calls)
    }

    fn reaction(&self) -> Option<&Reaction> {
        match self {
            Release::Reaction(reaction) | Release::Woken(_, reaction) | Release::Configured(_, reaction) => {
                Some(reaction)
            }
            Release::Ingest(..)
            | Release::Offset(..)
            | Release::Opened(_)
            | Release::Close(_)
            | Release::Left(_)
            | Release::Swapped(_) => None,
        }
    }

    /// Nobody wants these calls to be made any more.
    pub(super) fn forget_calls(&mut self, unwanted: &[u64]) {
        if let Release::Reaction(reaction) | Release::Woken(_, reaction) | Release::Configured(_, reaction) = self {
            reaction.calls.retain(|call| !unwanted.contains(&call.id));
        }
    }
}

impl Actor {
    /// Releases what a batch brought that was accepted then, and lets the next tick go on with what was too much for one
    /// reaction.
    pub(super) fn push_woken(&mut self, accepted: Stopwatch, reaction: Reaction) {
        let now = self.time.read(&*self.parts.clock);
        self.waking = reaction.wake_at.filter(|due| *due <= now).map(|_| accepted);
        self.outbox.push(self.sequence, Release::Woken(accepted, reaction));
    }

    /// Hands the committer what was fed and is to be journaled, in one append.
    pub(super) fn send(&mut self) {
        if self.sent == self.sequence {
            return;
        }
        let from = self.uncommitted.partition_point(|record| record.sequence <= self.sent);
        let records = self.uncommitted.range(from..).cloned().collect();
        let (mailbox, generation, through) = (self.parts.mailbox.clone(), self.generation, self.sequence);
        let (seat, chain) = (self.parts.history.seat.clone(), self.chain.clone());
        let append = Append { seat, expected: self.sent, records, chain };
        self.sent = through;
        let (timings, since) = (self.parts.timings.clone(), Stopwatch::start());
        self.parts.committer.append(append, move |outcome| {
            timings.committed(since.elapsed());
            mailbox.tell(Command::Committed { generation, through, outcome });
        });
    }

    /// What was fed and not sent never happened: the instance that it was fed to is gone.
    pub(super) fn forget_unsent(&mut self) {
        while let Some(record) = self.uncommitted.pop_back_if(|record| record.sequence > self.sent) {
            self.uncommitted_bytes -= record.input.size();
        }
        self.sequence = self.sent;
        self.outbox.forget(self.sent);
        self.pass_on_nothing_behind(self.sent);
    }

    pub(super) fn committed(&mut self, generation: u64, through: u64, outcome: Outcome) {
        if generation != self.generation {
            return;
        }
        if let Err(error) = outcome {
            return self.void(&error);
        }
        self.committed = through;
        self.failures = 0;
        while let Some(record) = self.uncommitted.pop_front_if(|record| record.sequence <= through) {
            self.uncommitted_bytes -= record.input.size();
        }
        while self.unproven.pop_front_if(|(sequence, ..)| *sequence <= through).is_some() {}
        self.statistics().sequence = through;
        self.follow_if_due();
    }

    /// An append failed: what was built on it never happened.
    fn void(&mut self, error: &JournalError) {
        let tenant = &*self.parts.history.seat.tenant;
        tracing::error!(tenant, %error, sequence = self.committed + 1, "the journal failed");
        self.statistics().append_failures += 1;
        self.give_swap_up(&format!("the journal failed: {error}"));
        self.begin_anew();
        self.failures += 1;
        let mut again = None;
        for release in self.outbox.void().collect::<Vec<_>>() {
            match release {
                Release::Opened(beginning) if beginning.patient && self.may_open_later(error) => {
                    again = Some(*beginning);
                }
                release => self.voided(release, error),
            }
        }
        if let Some((_, plugin, tenure)) = std::mem::take(&mut self.unproven).pop_front() {
            self.put_in_charge(plugin, tenure);
        }
        let down = self.down(error);
        let live = std::mem::replace(&mut self.live, down);
        match live {
            Live::Replaying(then) => self.abandon(then, OpenError::Journal(error.to_string())),
            Live::Faulted(why) => self.live = Live::Faulted(why),
            Live::Elsewhere(beginning) => self.live = Live::Elsewhere(beginning),
            Live::Instance(_) | Live::Asleep | Live::Down { .. } => {}
        }
        if let Some(beginning) = again {
            self.begin_later(beginning);
        }
        if !matches!(error, JournalError::Conflict { .. }) {
            return;
        }
        match &self.parts.lease {
            // If it is still this node's, the next lease begins with what the other one appended last.
            Some(_) => self.let_go("another node appended to its journal"),
            None => self.give_up(format!("another process owns it: {error}")),
        }
    }

    /// A conflict is the end of a tenant that nobody else may have.
    fn may_open_later(&self, error: &JournalError) -> bool {
        self.parts.lease.is_some() || matches!(error, JournalError::Store(_))
    }

    fn voided(&mut self, release: Release, error: &JournalError) {
        let failed = || IngestError::Journal(error.to_string());
        match release {
            Release::Ingest(respond, _) => drop(respond.send(Err(failed()))),
            Release::Offset(respond, _) => drop(respond.send(Err(failed()))),
            Release::Configured(respond, _) => drop(respond.send(Err(error.to_string()))),
            Release::Opened(beginning) => {
                (beginning.opened)(Err(OpenError::Journal(error.to_string())));
                self.end();
            }
            // Requests whose answer is void are known to the host only; the replay closes them.
            Release::Reaction(_) | Release::Woken(..) => {}
            Release::Close(respond) => self.outbox.push(0, Release::Close(respond)),
            Release::Left(respond) => self.outbox.push(0, Release::Left(respond)),
            Release::Swapped(swapped) => {
                self.statistics().swap("refused");
                swapped.0.end(Err(SwapError::at(Step::CutOver, format!("the journal failed: {error}"))));
            }
        }
    }

    /// What the instance was given and is not committed never happened: nothing that was appended of it counts any more.
    pub(super) fn begin_anew(&mut self) {
        self.generation += 1;
        self.chain = Chain::default();
        self.uncommitted.clear();
        self.uncommitted_bytes = 0;
        (self.sequence, self.sent) = (self.committed, self.committed);
    }

    /// The first failure is tried again at once, the next ones later and later.
    pub(super) fn down(&self, error: &dyn std::fmt::Display) -> Live {
        let wait = match self.failures {
            0 | 1 => 0,
            more => (RETRY_MILLISECONDS << (more - 2).min(10)).min(LONGEST_RETRY_MILLISECONDS),
        };
        Live::Down { why: error.to_string(), until: self.parts.clock.monotonic() + wait, then: None }
    }

    /// Carries out what may leave.
    pub(super) fn release(&mut self) -> Next {
        if !self.ended && !self.may_speak() {
            self.let_go("the lease is over");
            // What waits for an instance is told so.
            self.go_on();
        }
        self.swap_on();
        while let Some(release) = self.outbox.release(self.committed) {
            match release {
                Release::Reaction(reaction) => self.carry_out(reaction, None),
                Release::Woken(accepted, reaction) => self.carry_out(reaction, Some(accepted)),
                Release::Ingest(respond, outcome) => drop(respond.send(outcome)),
                Release::Offset(respond, offset) => drop(respond.send(Ok(offset))),
                Release::Configured(respond, reaction) => {
                    self.carry_out(reaction, None);
                    drop(respond.send(Ok(())));
                }
                Release::Opened(beginning) => (beginning.opened)(Ok(())),
                Release::Close(respond) => self.say_farewell(respond),
                Release::Left(respond) => {
                    self.let_go("it was given up");
                    // An error means that nobody waits.
                    let _ = respond.send(());
                }
                Release::Swapped(swapped) => self.swapped(*swapped),
            }
        }
        self.end_if_all_have_left();
        let mut statistics = self.statistics();
        statistics.open_requests = self.open.unanswered() as u64;
        statistics.outbound_in_flight = self.calls.flying() as u64;
        statistics.uncommitted = self.uncommitted.len() as u64;
        if self.ended { Next::Ends } else { Next::GoesOn }
    }

    /// The record of a swap is committed. The components that it makes dispensable go.
    fn swapped(&mut self, (report, swap, pin): (Report, Swap, Pin)) {
        self.statistics().swap("done");
        report.end(Ok(swap));
        let history = self.parts.history.clone();
        self.parts.followers.submit(self.parts.mailbox.key(), move || {
            drop(pin);
            tenure::collect(&*history.journal, &history.library);
        });
    }

    /// The plugin has ended what it could: who has no final part gets none; the others may still acknowledge theirs.
    fn say_farewell(&mut self, respond: oneshot::Sender<()>) {
        while let Some(request) = self.open.overdue(u64::MAX) {
            let why = RequestError::Closed("the tenant is closed".into());
            self.settlements.extend(self.open.close(request, why));
        }
        let until = self.parts.clock.monotonic() + FAREWELL_MILLISECONDS;
        self.farewell = Some(Farewell { respond, until });
        self.settle();
    }

    fn end_if_all_have_left(&mut self) {
        let Some(Farewell { until, .. }) = &self.farewell else { return };
        let settled = self.open.is_empty() && self.settlements.is_empty() && self.outbox.len() == 0;
        if settled && self.committed == self.sequence || *until <= self.parts.clock.monotonic() {
            self.end();
            if let Some(Farewell { respond, .. }) = self.farewell.take() {
                // An error means that nobody waits.
                let _ = respond.send(());
            }
        }
    }

    /// The tenant is closed: its name is free.
    pub(super) fn end(&mut self) {
        self.give_swap_up("the tenant is closed");
        self.close_all("the tenant is closed");
        self.parts.mailbox.close();
        self.ended = true;
    }

    fn carry_out(&mut self, reaction: Reaction, accepted: Option<Stopwatch>) {
        if !reaction.logs.is_empty() {
            let may = self.may_log(reaction.logs.len());
            reaction.logs.iter().take(may).for_each(|line| self.log(line));
        }
        for reply in reaction.replies {
            let woken = accepted.map(|accepted| Woken { accepted, timings: self.parts.timings.clone() });
            if let Delivery::CutOff { limit, settlement } = self.open.deliver(reply, &self.parts.limits, woken) {
                self.statistics().refusal(limit);
                self.settlements.push(settlement);
            }
        }
        for call in reaction.calls {
            self.make(call);
        }
    }

    /// Has a call made, unless nobody waits for it any more. A tenant that is closing begins none: the plugin makes it
    /// again when it is restarted.
    fn make(&mut self, call: Call) {
        if self.farewell.is_some() {
            return;
        }
        let may = self.may_call();
        let most = if may { self.parts.limits.outbound_calls } else { 0 };
        match self.calls.start(call.id, most) {
            Start::Make(ticket) => {
                let (mailbox, id) = (self.parts.mailbox.clone(), call.id);
                let done = Done::new(move |outcome| mailbox.tell(Command::Finished { call: id, ticket, outcome }));
                self.parts.outbound.call(&self.parts.history.seat.tenant, call, done);
            }
            Start::TooMany if may => self.statistics().refusal("outbound-calls"),
            Start::TooMany | Start::Unwanted => {}
        }
    }

    /// A call has ended. The plugin hears of it as soon as it can be fed.
    pub(super) fn finished(&mut self, call: u64, ticket: u64, outcome: outbound::Outcome) {
        let word = match &outcome {
            outbound::Outcome::Answered(_) => "answered",
            outbound::Outcome::Failed(_) => "failed",
            outbound::Outcome::Refused(_) => "refused",
        };
        if self.calls.ended(call, ticket, outcome) {
            self.statistics().outbound_call(word);
        }
    }

    fn log(&self, line: &LogLine) {
        let tenant = &*self.parts.history.seat.tenant;
        let message = &line.message[..line.message.floor_char_boundary(LOG_LINE_BYTES)];
        // It is to be one line, whatever a stranger wrote.
        let message = message.replace(char::is_control, " ");
        match line.level {
            LogLevel::Debug => tracing::debug!(target: "postbell::guest", tenant, "{message}"),
            LogLevel::Info => tracing::info!(target: "postbell::guest", tenant, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "postbell::guest", tenant, "{message}"),
            LogLevel::Error => tracing::error!(target: "postbell::guest", tenant, "{message}"),
        }
    }
}
