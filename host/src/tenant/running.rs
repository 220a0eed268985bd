//! What everybody may see of the component that a tenant runs.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::journal::Tenure;
use crate::plugin::{InstanceLimits, Plugin, Scratch};

/// The component that a tenant runs, and since when.
#[derive(Clone, Debug)]
pub struct Version {
    /// The component.
    pub plugin: Plugin,
    /// Since when it is in charge, and what was before it.
    pub tenure: Tenure,
    /// How often it failed since then, in this process.
    pub faults: u64,
}

/// Shared by a tenant's actor and its handles.
pub(crate) struct Running {
    limits: Mutex<InstanceLimits>,
    now: Mutex<(Version, Arc<Scratch>)>,
}

impl Running {
    pub(crate) fn new(plugin: &Plugin, tenure: &Tenure, limits: InstanceLimits) -> Running {
        let now = Mutex::new(version(plugin, tenure, &limits));
        Running { limits: Mutex::new(limits), now }
    }

    /// Another component is in charge. Gives what is of no use any more.
    pub(super) fn set(&self, plugin: &Plugin, tenure: &Tenure) -> impl Send + use<> {
        let mut now = self.now();
        let same = now.0.tenure == *tenure && now.0.plugin.id() == plugin.id();
        (!same).then(|| std::mem::replace(&mut *now, version(plugin, tenure, &self.limits())))
    }

    /// Instances for its pure functions may use something else from now on.
    pub(super) fn limit(&self, limits: &InstanceLimits) {
        *self.limits.lock().expect("nothing panics while this lock is held") = limits.clone();
        let mut now = self.now();
        let scratch = Scratch::new(now.0.plugin.clone(), limits);
        now.1 = Arc::new(scratch);
    }

    fn limits(&self) -> InstanceLimits {
        self.limits.lock().expect("nothing panics while this lock is held").clone()
    }

    /// It failed.
    pub(super) fn failed(&self) {
        self.now().0.faults += 1;
    }

    pub(super) fn version(&self) -> Version {
        self.now().0.clone()
    }

    /// Nobody needs it now.
    pub(super) fn rest(&self) {
        self.scratch().rest();
    }

    /// Instances for its pure functions.
    pub(super) fn scratch(&self) -> Arc<Scratch> {
        self.now().1.clone()
    }

    fn now(&self) -> MutexGuard<'_, (Version, Arc<Scratch>)> {
        self.now.lock().expect("nothing panics while this lock is held")
    }
}

fn version(plugin: &Plugin, tenure: &Tenure, limits: &InstanceLimits) -> (Version, Arc<Scratch>) {
    let version = Version { plugin: plugin.clone(), tenure: tenure.clone(), faults: 0 };
    (version, Arc::new(Scratch::new(plugin.clone(), limits)))
}
