//! How inputs reach the instance: each with its moment, checked by the guard, and into the journal if it must be there.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::commit::Release;
use super::elsewhere::ELSEWHERE;
use super::recovery::Then;
use super::{Actor, Live};
use crate::contract::lifecycle::Restart;
use crate::contract::types::{Moment, Reaction};
use crate::journal::{Digest, Input, Record};
use crate::plugin::Fault;
use crate::tenant::halving::Halving;
use crate::tenant::{IngestError, Ingested, replay};

/// An input that brought no reaction.
pub(super) struct Failed {
    pub(super) input: Input,
    /// How the plugin failed on it; its instance is gone. None: there was no instance.
    pub(super) fault: Option<Fault>,
    pub(super) why: String,
}

/// A batch that is being halved, and who waits for it.
pub(super) struct Halved {
    pub(super) halving: Halving,
    pub(super) respond: oneshot::Sender<Result<Ingested, IngestError>>,
}

impl Actor {
    /// Feeds an input of the host's own. One that fails is tried once more; then the plugin is told that it was
    /// restarted; if it fails on that too, the tenant is closed as faulted.
    pub(super) fn feed_own(&mut self, input: Input) {
        self.try_own(input, 1);
    }

    pub(super) fn try_own(&mut self, input: Input, attempt: u32) {
        let restarts = matches!(input, Input::Restarted(_));
        let waking = if matches!(input, Input::Tick) { self.waking.take() } else { None };
        match self.feed(input) {
            Ok(Ok(reaction)) => {
                match waking {
                    Some(accepted) => self.push_woken(accepted, reaction),
                    None => self.outbox.push(self.sequence, Release::Reaction(reaction)),
                }
                if restarts {
                    self.close_unanswered("the plugin was restarted");
                }
            }
            Ok(Err(why)) => unreachable!("only settings are refused: {why}"),
            Err(failed) if failed.fault.is_none() => {}
            Err(failed) => {
                let input = match attempt {
                    1 => failed.input.clone(),
                    2 => Input::Restarted(Restart { down_ms: 0, regressed: false }),
                    // Another version may do better.
                    _ if self.is_to_go_back() => return self.replay(Then::GoOn),
                    _ => return self.give_up("it fails on the host's own inputs".into()),
                };
                self.replay_after(&failed, Then::Again { input, attempt: attempt + 1 });
            }
        }
    }

    /// Feeds one input and has it journaled if it must be. The inner error is the plugin's refusal of settings.
    pub(super) fn feed(&mut self, input: Input) -> Result<Result<Reaction, String>, Box<Failed>> {
        let reaction = self.feed_unsent(input);
        self.send();
        reaction
    }

    /// As `feed`, but what is to be journaled is not sent to the committer yet.
    fn feed_unsent(&mut self, input: Input) -> Result<Result<Reaction, String>, Box<Failed>> {
        if let Some(why) = self.absence() {
            return Err(Box::new(Failed { input, fault: None, why }));
        }
        self.stir();
        let at = self.moment();
        match self.call(at, &input) {
            Ok(Ok(reaction)) => {
                self.wake_at = reaction.wake_at;
                self.note_calls(&input, &reaction);
                if reaction.changed || must_be_journaled(&input) || self.is_followed() {
                    let digest = Digest::of(&self.parts.history.plugin.sha256(), &reaction);
                    self.note(Record { sequence: at.sequence, now: at.now, digest, input: Arc::new(input) });
                    self.pass_on(&reaction);
                }
                Ok(Ok(reaction))
            }
            Ok(Err(refused)) => Ok(Err(refused)),
            Err(fault) => {
                self.fault(&fault, input.kind());
                let why = fault.to_string();
                self.live = Live::Down { why: why.clone(), until: 0, then: None };
                Err(Box::new(Failed { input, fault: Some(fault), why }))
            }
        }
    }

    fn absence(&self) -> Option<String> {
        match &self.live {
            Live::Instance(_) => None,
            Live::Replaying(_) => Some("its history is replayed".into()),
            Live::Asleep => Some("it sleeps".into()),
            Live::Down { why, .. } | Live::Faulted(why) => Some(why.clone()),
            Live::Elsewhere(_) => Some(ELSEWHERE.into()),
        }
    }

    pub(super) fn moment(&mut self) -> Moment {
        Moment { now: self.time.read(&*self.parts.clock), sequence: self.sequence + 1 }
    }

    fn call(&mut self, at: Moment, input: &Input) -> Result<Result<Reaction, String>, Fault> {
        let Live::Instance(instance) = &mut self.live else { unreachable!("the caller has seen an instance") };
        let reaction = instance.feed(at, input);
        let (memory, time) = (instance.memory(), instance.time());
        self.parts.timings.fed(input.kind(), time);
        self.took += time;
        let reaction = reaction?;
        if let Ok(reaction) = &reaction {
            self.guard.check(at.now, input, reaction).map_err(Fault::Contract)?;
        }
        let mut statistics = self.statistics();
        statistics.input(input.kind());
        statistics.memory = memory;
        Ok(reaction)
    }

    /// Which calls the plugin waits for now.
    fn note_calls(&mut self, input: &Input, reaction: &Reaction) {
        match input {
            Input::Restarted(_) => self.calls.forget(),
            Input::Finished { call, .. } => self.calls.told(*call),
            _ => {}
        }
        for call in &reaction.calls {
            self.calls.wanted(call.id);
        }
    }

    /// The input is in the state now, and will be in the journal.
    pub(super) fn note(&mut self, record: Record) {
        self.sequence = record.sequence;
        replay::note(&record.input, &mut self.offsets, &mut self.settings);
        let bytes = record.input.size();
        self.uncommitted_bytes += bytes;
        self.snapshots.note(bytes, self.parts.clock.monotonic());
        self.uncommitted.push_back(record);
    }

    pub(super) fn fault(&mut self, fault: &Fault, function: &str) {
        let tenant = &*self.parts.history.seat.tenant;
        let sequence = self.sequence + 1;
        tracing::error!(tenant, %fault, function, sequence, "the plugin failed; its instance is rebuilt");
        self.statistics().fault(fault.reason());
        self.parts.running.failed();
        self.note_fault();
    }

    /// A batch failed: if the plugin did, the change is found that it fails on.
    pub(super) fn find_culprit(&mut self, failed: Failed, respond: oneshot::Sender<Result<Ingested, IngestError>>) {
        let Failed { input, fault, why } = failed;
        let halving = match (input, &fault) {
            (Input::Ingest { batch, span, .. }, Some(_)) => Halving::new(batch, span, &why),
            _ => None,
        };
        match halving {
            Some(halving) => self.replay(Then::Halve(Halved { halving, respond })),
            None => {
                drop(respond.send(Err(IngestError::Fault(why))));
                if fault.is_some() {
                    self.replay(Then::GoOn);
                }
            }
        }
    }

    /// Feeds what is left of a batch. All of it is appended at once: a source's batch is there as a whole or not at all.
    pub(super) fn halve(&mut self, mut halved: Halved) {
        while let Some(input) = halved.halving.input() {
            match self.feed_unsent(input) {
                Ok(Ok(mut reaction)) => {
                    halved.halving.fed(std::mem::take(&mut reaction.rejections));
                    self.outbox.push(self.sequence, Release::Reaction(reaction));
                }
                Ok(Err(why)) => unreachable!("only settings are refused: {why}"),
                Err(failed) if halved.halving.failed(&failed.why) => return self.replay(Then::Halve(halved)),
                Err(failed) => {
                    drop(halved.respond.send(Err(IngestError::Fault(failed.why))));
                    self.forget_unsent();
                    return self.replay(Then::GoOn);
                }
            }
        }
        self.send();
        let Halved { halving, respond } = halved;
        let rejections = halving.rejections();
        tracing::warn!(
            tenant = &*self.parts.history.seat.tenant,
            rejected = rejections.len(),
            sequence = self.sequence,
            "changes that the plugin failed on were skipped"
        );
        let ingested = Ingested { rejections, sequence: self.sequence, repeated: false };
        self.outbox.push(self.sequence, Release::Ingest(respond, Ok(ingested)));
    }
}

/// What is journaled even if it left no trace: offsets, settings, and that clients were cut off, are the host's to know.
fn must_be_journaled(input: &Input) -> bool {
    match input {
        Input::Ingest { span, skipped, .. } => span.is_some() || skipped.is_some(),
        Input::Open { .. } | Input::Configure { .. } | Input::Restarted(_) | Input::Swapped(_) => true,
        Input::Tick | Input::Drain | Input::Answer(_) | Input::Settled(_) | Input::Finished { .. } => false,
    }
}
