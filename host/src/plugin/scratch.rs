//! Instances for the contract's pure functions: `identify` and `refuse` never meet a tenant's state.

use std::sync::Mutex;

use super::{Fault, Instance, InstanceLimits, Plugin};
use crate::contract::requests::{Claims, Refusal, RequestHead};
use crate::contract::types::Reply;

/// How many idle instances a tenant keeps.
const KEPT: usize = 2;

/// The scratch instances of one tenant. They are not shared between tenants: a plugin that remembers what it should
/// not can tell nobody else.
pub(crate) struct Scratch {
    plugin: Plugin,
    limits: InstanceLimits,
    idle: Mutex<Vec<Instance>>,
}

impl Scratch {
    pub(crate) fn new(plugin: Plugin, limits: &InstanceLimits) -> Scratch {
        Scratch { plugin, limits: limits.for_scratch(), idle: Mutex::default() }
    }

    pub(crate) fn identify(&self, head: &RequestHead, body: &[u8]) -> Result<Claims, Fault> {
        self.with(|instance| instance.identify(head, body))
    }

    pub(crate) fn refuse(&self, head: &RequestHead, body: &[u8], why: Refusal) -> Result<Reply, Fault> {
        self.with(|instance| instance.refuse(head, body, why))
    }

    /// Drops those that are idle.
    pub(crate) fn rest(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    fn with<T>(&self, call: impl FnOnce(&mut Instance) -> Result<T, Fault>) -> Result<T, Fault> {
        let idle = self.idle().pop();
        let mut instance = idle.map_or_else(|| self.plugin.instantiate(&self.limits), Ok)?;
        let result = call(&mut instance)?;
        let mut idle = self.idle();
        // One that grew for a large request would keep the memory for good, and others may need its place.
        if idle.len() < KEPT && self.plugin.is_roomy() && instance.memory() <= 4 * self.plugin.facts().initial_memory {
            idle.push(instance);
        }
        Ok(result)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.idle.lock().expect("nothing panics while this lock is held")
    }
}
