//! The plugins of one host: each component is compiled once, and kept as long as a tenant may need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::components::{ComponentError, Components, Verify};
use super::{Census, Compiler, Inner, Plugin, PluginError, PluginLimits};
use crate::HostOptions;
use crate::journal::{ComponentId, KeptComponent};

pub(crate) struct Library {
    engine: Arc<Engine>,
    census: Arc<Census>,
    compiler: Compiler,
    limits: PluginLimits,
    cache: Option<PathBuf>,
    verify: Option<Verify>,
    components: Components,
    /// Those that somebody uses.
    loaded: Mutex<BTreeMap<ComponentId, Weak<Inner>>>,
    /// How many were not loaded, by the reason.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    /// How many need a component that no journal names yet.
    pinned: Arc<Mutex<BTreeMap<ComponentId, usize>>>,
}

/// As long as it is held, the component is kept.
pub(crate) struct Pin {
    id: ComponentId,
    pinned: Arc<Mutex<BTreeMap<ComponentId, usize>>>,
}

impl Library {
    pub(crate) fn new(engine: Arc<Engine>, options: HostOptions) -> Library {
        let HostOptions { journal, compiler, plugin_limits: limits, cache, components, verify, instances, .. } =
            options;
        let components = Components::new(components, journal);
        let census = Census::new(instances);
        let (loaded, refusals, pinned) = (Mutex::default(), Mutex::default(), Arc::default());
        Library { engine, census, compiler, limits, cache, verify, components, loaded, refusals, pinned }
    }

    /// A component as a plugin. Blocks.
    pub(crate) fn load(&self, component: &[u8], signature: Option<&str>) -> Result<Plugin, PluginError> {
        let id = ComponentId(Sha256::digest(component).into());
        if let Some(plugin) = self.loaded(id)
            && (signature.is_none() || plugin.inner.signature.as_deref() == signature)
        {
            return Ok(plugin);
        }
        let cache = self.cache.as_deref();
        let loaded =
            Plugin::load(&self.engine, &self.census, component, &self.compiler, &self.limits, cache, signature);
        let plugin = loaded.inspect_err(|error| self.refused(error.reason()))?;
        self.loaded_now().insert(id, Arc::downgrade(&plugin.inner));
        Ok(plugin)
    }

    /// How many instances there are of all plugins.
    pub(crate) fn instances(&self) -> u64 {
        self.census.now()
    }

    /// How many components were not loaded, by [`PluginError::reason`].
    pub(crate) fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.refusals.lock().expect(UNPOISONED).clone()
    }

    fn refused(&self, reason: &'static str) {
        *self.refusals.lock().expect(UNPOISONED).entry(reason).or_default() += 1;
    }

    /// Keeps the plugin's component.
    pub(crate) fn keep(&self, plugin: &Plugin) -> Result<Pin, ComponentError> {
        let id = plugin.id();
        *self.pinned.lock().expect(UNPOISONED).entry(id).or_default() += 1;
        let pin = Pin { id, pinned: self.pinned.clone() };
        self.components.put(id, &plugin.inner.component, plugin.inner.signature.as_deref())?;
        Ok(pin)
    }

    /// The plugin of a component that is kept. Blocks.
    pub(crate) fn get(&self, id: ComponentId) -> Result<Plugin, ComponentError> {
        if let Some(plugin) = self.loaded(id) {
            return Ok(plugin);
        }
        let KeptComponent { component, signature } = self.components.get(id)?;
        if let Some(verify) = &self.verify {
            verify(&component, signature.as_deref()).map_err(|why| ComponentError::Untrusted(id, why))?;
        }
        self.load(&component, signature.as_deref()).map_err(|error| ComponentError::Plugin(id, error))
    }

    /// The component that a digest names.
    pub(crate) fn named(&self, prefix: u64) -> Option<ComponentId> {
        self.components.all().into_iter().find(|id| id.prefix() == prefix)
    }

    /// Keeps no component but these and those that are pinned.
    pub(crate) fn keep_only(&self, mut wanted: BTreeSet<ComponentId>) {
        // Held meanwhile, so that nobody begins to need one that is being removed.
        let pinned = self.pinned.lock().expect(UNPOISONED);
        wanted.extend(pinned.keys());
        self.components.keep_only(&wanted);
    }

    fn loaded(&self, id: ComponentId) -> Option<Plugin> {
        let inner = self.loaded_now().get(&id)?.upgrade()?;
        Some(Plugin { inner })
    }

    fn loaded_now(&self) -> MutexGuard<'_, BTreeMap<ComponentId, Weak<Inner>>> {
        let mut loaded = self.loaded.lock().expect(UNPOISONED);
        loaded.retain(|_, inner| inner.strong_count() > 0);
        loaded
    }
}

const UNPOISONED: &str = "nothing panics while this lock is held";

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pinned.lock().expect(UNPOISONED);
        if let Some(count) = pinned.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                pinned.remove(&self.id);
            }
        }
    }
}
