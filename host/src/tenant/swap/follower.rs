//! The instance that is to take over: brought to where the live one is, and kept there.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::calls::{Calls, CallsApart};
use super::shadow::Comparison;
use super::told::{Apart, Told};
use super::{MOST_DIFFERENCES, OnDifference, Shadow, Step, SwapError, SwapEvent, SwapOptions};
use crate::contract::types::{Moment, Reaction};
use crate::journal::{self, Base, ComponentId, Digest, Former, Fresh, Input, Instead, JournalError, Record, Swapped};
use crate::plugin::{InstanceLimits, Pin, Plugin};
use crate::tenant::guard::Guard;
use crate::tenant::replay::{History, ReplayError, Replayed};

/// So many inputs may be told otherwise to a follower: the record of the swap holds them all.
const MOST_INSTEAD: usize = 100_000;

/// How often a follower that is fed the history says how far it is, in inputs.
const SAID_EVERY: u64 = 500;

/// Who is to take over what.
pub(in crate::tenant) struct Plan {
    pub(in crate::tenant) history: History,
    pub(in crate::tenant) plugin: Plugin,
    pub(in crate::tenant) options: SwapOptions,
    /// It is gone back to.
    pub(in crate::tenant) back: bool,
    /// What it begins with, if it may begin with nothing.
    pub(in crate::tenant) fresh: Option<Fresh>,
    /// Told how it comes along; none: nobody is.
    pub(in crate::tenant) events: Option<mpsc::Sender<SwapEvent>>,
}

/// An input, and what the live instance made of it.
pub(in crate::tenant) struct Fed {
    pub(in crate::tenant) record: Record,
    pub(in crate::tenant) live: Reaction,
}

/// An instance that sees what the live one sees. Nothing that it makes leaves.
pub(crate) struct Follower {
    replayed: Replayed,
    guard: Guard,
    wake_at: Option<u64>,
    base: Base,
    instead: Vec<(u64, Instead)>,
    told: Told,
    calls: Calls,
    comparison: Option<Comparison>,
    options: SwapOptions,
    back: bool,
    events: Option<mpsc::Sender<SwapEvent>>,
    pin: Pin,
}

/// A follower that has become the live instance.
pub(crate) struct Successor {
    pub(in crate::tenant) replayed: Replayed,
    pub(in crate::tenant) guard: Guard,
    pub(in crate::tenant) wake_at: Option<u64>,
    pub(in crate::tenant) swapped: Swapped,
    pub(in crate::tenant) told: Vec<Apart>,
    pub(in crate::tenant) calls: CallsApart,
    /// The requests of which it is known what they were told; none: that is so of all.
    pub(in crate::tenant) known: Option<BTreeSet<u64>>,
    pub(in crate::tenant) compared: (u64, u64),
    /// Held until the record is in the journal.
    pub(in crate::tenant) pin: Pin,
    /// Large, and of no use any more: not to be dropped where it holds up others.
    pub(in crate::tenant) rest: Box<dyn Send>,
}

impl Plan {
    /// Makes the follower, and brings it to `through` and behind `uncommitted`. Blocks, for long.
    pub(in crate::tenant) fn begin(self, through: u64, uncommitted: &[Record]) -> Result<Follower, SwapError> {
        let Plan { history, plugin, options, back, fresh, events } = self;
        let prepare = |why: String| SwapError { step: Step::Prepare, why };
        let (name, seat) = (&plugin.manifest().name, &history.seat);
        if **name != *seat.plugin {
            return Err(prepare(format!("it is the plugin {name}, and this one is {}", seat.plugin)));
        }
        let pin = history.library.keep(&plugin).map_err(|error| prepare(error.to_string()))?;
        say(&events, SwapEvent::Step(Step::Warm));
        let (base, replayed) = base(&history, &plugin, fresh, through)?;
        let mut follower = Follower::new(base, replayed, options, events, pin, history.reaction_bytes)?;
        follower.back = back;
        for record in journal::records(&*history.journal, seat, follower.base.sequence() + 1, through) {
            follower.feed_history(&record.map_err(|error| SwapError::at(Step::Warm, error))?, through)?;
        }
        for record in uncommitted {
            if record.sequence > follower.replayed.sequence {
                follower.feed_history(record, through)?;
            }
        }
        follower.told.doubts_end();
        Ok(follower)
    }
}

fn say(events: &Option<mpsc::Sender<SwapEvent>>, event: SwapEvent) {
    if let Some(events) = events {
        // An error means that nobody listens, or not fast enough.
        let _ = events.try_send(event);
    }
}

/// The newest snapshot that it loads; else the history; else, if that is allowed, nothing.
fn base(history: &History, plugin: &Plugin, fresh: Option<Fresh>, through: u64) -> Result<(Base, Replayed), SwapError> {
    let failed = |error: ReplayError| SwapError::at(Step::Warm, error);
    let facts = history.journal.facts(&history.seat).map_err(|error| failed(error.into()))?;
    let mut unknown = Vec::new();
    for snapshot in facts.iter().flat_map(|facts| facts.snapshots.iter().rev()) {
        if snapshot.sequence > through {
            continue;
        }
        match history.at_snapshot(plugin, snapshot.sequence) {
            Ok(Some(replayed)) => return Ok((Base::Snapshot(snapshot.sequence), replayed)),
            Ok(None) | Err(ReplayError::Journal(JournalError::Damaged(_))) => {}
            Err(ReplayError::UnknownFormat(format)) => unknown.push(format),
            Err(error) => return Err(failed(error)),
        }
    }
    match (facts.map_or(1, |facts| facts.first), fresh) {
        (1, _) => Ok((Base::Open, history.at_open(plugin).map_err(failed)?)),
        (_, Some(fresh)) => {
            let replayed = history.fresh(plugin, &fresh).map_err(failed)?;
            Ok((Base::Fresh(Box::new(fresh)), replayed))
        }
        (first, None) => {
            unknown.dedup();
            let formats = if unknown.is_empty() { "no snapshot".to_owned() } else { unknown.join(", ") };
            Err(SwapError {
                step: Step::Warm,
                why: format!(
                    "it does not know the state format ({formats}), and the history does not reach back to `open`: it \
                     begins at {first}; --fresh lets it begin with nothing"
                ),
            })
        }
    }
}

impl Follower {
    fn new(
        base: Base,
        mut replayed: Replayed,
        options: SwapOptions,
        events: Option<mpsc::Sender<SwapEvent>>,
        pin: Pin,
        reaction_bytes: usize,
    ) -> Result<Follower, SwapError> {
        let pending = replayed.pending().map_err(|fault| SwapError::at(Step::Warm, fault))?;
        let guard = Guard::after_load(&pending.requests, &pending.calls, reaction_bytes);
        let comparison = options.shadow.map(|_| Comparison::default());
        Ok(Follower {
            replayed,
            guard,
            wake_at: pending.wake_at,
            base,
            instead: Vec::new(),
            told: Told::default(),
            calls: Calls::pending(&pending.calls),
            comparison,
            options,
            back: false,
            events,
            pin,
        })
    }

    /// The last input that it has seen.
    pub(in crate::tenant) fn sequence(&self) -> u64 {
        self.replayed.sequence
    }

    /// Inputs behind this one are needed as long as it may take over.
    pub(in crate::tenant) fn base(&self) -> u64 {
        self.base.sequence()
    }

    /// The bytes of its memory.
    pub(in crate::tenant) fn memory(&self) -> u64 {
        self.replayed.instance.memory()
    }

    /// From now on the instance lives under these limits.
    pub(in crate::tenant) fn set_limits(&mut self, limits: &InstanceLimits) {
        self.replayed.instance.set_limits(limits);
    }

    /// How many reactions were compared, and how many of these differed.
    pub(in crate::tenant) fn compared(&self) -> (u64, u64) {
        self.comparison.as_ref().map_or((0, 0), |comparison| (comparison.inputs, comparison.differences))
    }

    /// From the next input on, reactions are compared.
    pub(in crate::tenant) fn begin_comparison(&mut self) {
        if let Some(comparison) = &mut self.comparison {
            comparison.begun = true;
        }
    }

    /// Where something was told that only the host knows: forgets the requests that it does not have.
    pub(in crate::tenant) fn forget_requests_but(&mut self, open: impl Fn(u64) -> bool) {
        if self.told.is_in_doubt() {
            for request in self.told.apart().filter(|request| !open(*request)).collect::<Vec<_>>() {
                self.told.remove(request);
            }
        }
    }

    fn is_given_up(&self) -> bool {
        self.events.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    fn feed_history(&mut self, record: &Record, through: u64) -> Result<(), SwapError> {
        if record.sequence.is_multiple_of(SAID_EVERY) {
            if self.is_given_up() {
                return Err(SwapError::at(Step::Warm, "given up"));
            }
            say(&self.events, SwapEvent::Followed { sequence: record.sequence, last: through });
        }
        let Some(own) = self.react(record, Step::Warm)? else { return Ok(()) };
        if record.digest.reaction == Digest::of(&[0; 32], &own).reaction {
            self.told.both(&own.replies);
        } else {
            self.told.differed(None, &own.replies);
            self.calls.differed(None, &own.calls);
        }
        Ok(())
    }

    /// Feeds what the live instance was fed.
    pub(in crate::tenant) fn feed(&mut self, fed: &[Fed]) -> Result<(), SwapError> {
        for Fed { record, live } in fed {
            let Some(own) = self.react(record, self.step())? else { continue };
            if *live == own {
                self.told.both(&own.replies);
            } else {
                self.told.differed(Some(&live.replies), &own.replies);
                self.calls.differed(Some(&live.calls), &own.calls);
            }
            self.compare(record, live, &own)?;
        }
        Ok(())
    }

    fn step(&self) -> Step {
        let shadows = self.comparison.as_ref().is_some_and(|comparison| comparison.begun);
        if shadows { Step::Shadow } else { Step::Follow }
    }

    /// What it makes of an input; none: it is not told.
    fn react(&mut self, record: &Record, step: Step) -> Result<Option<Reaction>, SwapError> {
        let Record { sequence, now, input, .. } = record;
        if matches!(**input, Input::Swapped(_)) {
            self.replayed.note(record);
            return Ok(None);
        }
        let failed = |what: &str| {
            let why = format!("at {sequence} ({}) {what}", input.kind());
            SwapError { step, why }
        };
        if let Some(comparison) = &mut self.comparison {
            comparison.note(input);
        }
        let instead = self.instead(record);
        if self.instead.len() > MOST_INSTEAD {
            return Err(failed(&format!("more than {MOST_INSTEAD} settlements speak of what it did otherwise")));
        }
        let changed = instead.as_ref().map(Instead::input);
        let Some(given) = changed.as_ref().map_or(Some(&**input), Option::as_ref) else {
            self.replayed.note(record);
            return Ok(Some(silence(self.wake_at)));
        };
        let reaction = self.replayed.instance.feed(Moment { now: *now, sequence: *sequence }, given);
        let reaction = reaction.map_err(|fault| failed(&format!("it failed: {fault}")))?;
        let reaction = reaction.map_err(|why| failed(&format!("it refused what was taken: {why}")))?;
        self.guard.check(*now, given, &reaction).map_err(|why| failed(&format!("it broke the contract: {why}")))?;
        self.wake_at = reaction.wake_at;
        self.calls.asked(&reaction.calls);
        self.replayed.note(record);
        Ok(Some(reaction))
    }

    /// What it is to be given instead of an input that speaks of what the live instance did.
    fn instead(&mut self, record: &Record) -> Option<Instead> {
        let instead = match &*record.input {
            Input::Settled(settlements) => match self.told.settled(settlements)? {
                none if none.is_empty() => Instead::Nothing,
                own => Instead::Settled(own),
            },
            Input::Finished { call, .. } if !self.calls.finished(*call) => Instead::Nothing,
            Input::Answer(request) => {
                self.told.opened(request.id);
                return None;
            }
            Input::Restarted(_) => {
                self.told.restarted();
                self.calls.restarted();
                return None;
            }
            _ => return None,
        };
        self.instead.push((record.sequence, instead.clone()));
        Some(instead)
    }

    fn compare(&mut self, record: &Record, live: &Reaction, own: &Reaction) -> Result<(), SwapError> {
        let Some(comparison) = &mut self.comparison else { return Ok(()) };
        if matches!(self.options.shadow, Some(Shadow::Inputs(inputs)) if comparison.inputs >= inputs) {
            return Ok(());
        }
        let found = comparison.compare(record, live, own);
        let Some(difference) = found else { return Ok(()) };
        let why = format!(
            "at {} ({} {} {}) it answers otherwise",
            difference.sequence, difference.input, difference.dialect, difference.operation
        );
        if comparison.differences <= MOST_DIFFERENCES {
            say(&self.events, SwapEvent::Difference(Box::new(difference)));
        }
        match self.options.on_difference {
            OnDifference::Report => Ok(()),
            OnDifference::Refuse => Err(SwapError { step: Step::Shadow, why }),
        }
    }

    /// Makes it the live instance's successor.
    pub(in crate::tenant) fn succeed(mut self, from: Option<Former>, configured: ComponentId) -> Successor {
        let compared = self.compared();
        let known = self.told.is_in_doubt().then(|| self.told.known());
        let (told, calls) = (self.told.take_apart(), self.calls.take_apart());
        let Follower { replayed, guard, wake_at, base, instead, told: rest, back, pin, .. } = self;
        let to = replayed.plugin.id();
        let swapped = Swapped { from, to, back, configured, base, instead };
        let rest = Box::new((rest, self.comparison));
        Successor { replayed, guard, wake_at, swapped, told, calls, known, compared, pin, rest }
    }
}

fn silence(wake_at: Option<u64>) -> Reaction {
    Reaction { replies: vec![], calls: vec![], wake_at, rejections: vec![], logs: vec![], changed: false }
}
