//! The plugins of one host: each component is compiled once, and kept as long as a tenant may need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::components::{ComponentError, Components, Kept, Verify};
use super::{Compiler, Inner, Plugin, PluginError};
use crate::journal::ComponentId;

pub(crate) struct Library {
    engine: Arc<Engine>,
    compiler: Compiler,
    cache: Option<PathBuf>,
    verify: Option<Verify>,
    components: Components,
    /// Those that somebody uses.
    loaded: Mutex<BTreeMap<ComponentId, Weak<Inner>>>,
    /// How many need a component that no journal names yet.
    pinned: Arc<Mutex<BTreeMap<ComponentId, usize>>>,
}

/// As long as it is held, the component is kept.
pub(crate) struct Pin {
    id: ComponentId,
    pinned: Arc<Mutex<BTreeMap<ComponentId, usize>>>,
}

impl Library {
    /// `folder`: where components are kept; none: in memory. `verify` judges those that were kept before.
    pub(crate) fn new(
        engine: Arc<Engine>,
        compiler: Compiler,
        cache: Option<PathBuf>,
        folder: Option<PathBuf>,
        verify: Option<Verify>,
    ) -> Library {
        let components = Components::new(folder);
        Library { engine, compiler, cache, verify, components, loaded: Mutex::default(), pinned: Arc::default() }
    }

    /// A component as a plugin. Blocks.
    pub(crate) fn load(&self, component: &[u8], signature: Option<&str>) -> Result<Plugin, PluginError> {
        let id = ComponentId(Sha256::digest(component).into());
        if let Some(plugin) = self.loaded(id)
            && (signature.is_none() || plugin.inner.signature.as_deref() == signature)
        {
            return Ok(plugin);
        }
        let plugin = Plugin::load(&self.engine, component, &self.compiler, self.cache.as_deref(), signature)?;
        self.loaded_now().insert(id, Arc::downgrade(&plugin.inner));
        Ok(plugin)
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
        let Kept { component, signature } = self.components.get(id)?;
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
