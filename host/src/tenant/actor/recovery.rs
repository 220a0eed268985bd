//! How a tenant comes back: an instance from its journal in the place of one that failed, and the snapshots that keep the
//! way there short.

use std::collections::BTreeSet;

use super::{Actor, Live, Parts, Release};
use crate::clock::TenantTime;
use crate::contract::lifecycle::Pending;
use crate::contract::requests::{End, Settlement};
use crate::journal::Snapshot;
use crate::plugin::{InstanceLimits, Plugin};
use crate::tenant::RequestError;
use crate::tenant::guard::Guard;
use crate::tenant::replay::{self, Replayed};

impl Actor {
    /// Brings a tenant back whose journal failed, now that something happens again.
    pub(super) fn revive(&mut self) {
        if matches!(self.live, Live::Down(_)) {
            self.rebuild();
        }
    }

    /// Replaces the instance by one that the journal gives, and makes its open requests those of the host.
    pub(super) fn rebuild(&mut self) {
        let Parts { plugin, limits, journal, seat, .. } = &self.parts;
        match replay::replay(plugin, &limits.instance, &**journal, seat, &self.uncommitted) {
            Ok(replayed) => self.adopt(replayed),
            Err(replay::ReplayError::Journal(error)) => {
                self.live = Live::Down(error.to_string());
                self.close_all("the journal cannot be read");
            }
            Err(error) => self.give_up(error.to_string()),
        }
    }

    pub(super) fn adopt(&mut self, replayed: Replayed) {
        let Replayed { instance, pending, sequence, now, offsets, settings } = replayed;
        self.live = Live::Instance(Box::new(instance));
        if self.uncommitted.is_empty() {
            self.committed = sequence;
        }
        self.sequence = sequence;
        self.offsets = offsets;
        self.settings = settings.unwrap_or_default();
        if self.time.read(&*self.parts.clock) < now {
            self.time = TenantTime::start(&*self.parts.clock, now);
        }
        self.wake_at = pending.wake_at;
        self.guard = Guard::after_load(&pending.requests);
        self.reconcile(&pending);
    }

    /// After every load: requests that only the host knows are closed, unless the rest of their answer waits in the
    /// outbox; those that only the plugin knows are settled as gone.
    pub(super) fn reconcile(&mut self, pending: &Pending) {
        let answered = self.outbox.iter().flat_map(Release::replies).map(|reply| reply.to);
        let expected: BTreeSet<u64> = pending.requests.iter().copied().chain(answered).collect();
        let known: BTreeSet<u64> = self.open.numbers().collect();
        for id in known.difference(&expected) {
            self.open.close(*id, RequestError::Closed("the plugin lost it".into()));
        }
        let gone = pending.requests.iter().filter(|id| !known.contains(id));
        self.settlements.extend(gone.map(|id| Settlement { request: *id, parts: 0, end: Some(End::Gone) }));
    }

    pub(super) fn give_up(&mut self, why: String) {
        tracing::error!(tenant = &*self.parts.seat.tenant, why, "the tenant is closed as faulted");
        self.live = Live::Faulted(why);
        self.wake_at = None;
        self.close_all("the plugin failed");
    }

    pub(super) fn close_all(&mut self, why: &str) {
        for id in self.open.numbers().collect::<Vec<_>>() {
            self.open.close(id, RequestError::Closed(why.into()));
        }
    }

    /// Saves the state and has the journal cut, but not before a fresh instance has loaded it and saved the same.
    pub(super) fn snapshot(&mut self) {
        self.snapshot_at = self.sequence;
        let Live::Instance(instance) = &mut self.live else { return };
        let parts = match instance.save() {
            Ok(parts) => parts,
            Err(fault) => {
                self.fault(&fault, "save");
                return self.rebuild();
            }
        };
        let snapshot = Snapshot {
            sequence: self.sequence,
            now: self.time.read(&*self.parts.clock),
            format: self.parts.plugin.manifest().state_formats[0].clone(),
            parts,
            offsets: self.offsets.clone(),
            settings: self.settings.clone(),
        };
        let kept = verify(&self.parts.plugin, &self.parts.limits.instance, &snapshot).and_then(|()| {
            self.parts.journal.put_snapshot(&self.parts.seat, &snapshot).map_err(|error| error.to_string())
        });
        if let Err(why) = kept {
            tracing::error!(tenant = &*self.parts.seat.tenant, why, "no snapshot; the journal is not cut");
        }
    }
}

fn verify(plugin: &Plugin, limits: &InstanceLimits, snapshot: &Snapshot) -> Result<(), String> {
    let mut scratch = plugin.instantiate(&limits.for_replay()).map_err(|fault| fault.to_string())?;
    replay::load(&mut scratch, snapshot).map_err(|error| error.to_string())?;
    let again = scratch.save().map_err(|fault| fault.to_string())?;
    if again == snapshot.parts { Ok(()) } else { Err("what it loads is not what it saved".into()) }
}
