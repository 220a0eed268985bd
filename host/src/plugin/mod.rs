//! Plugins: components that are compiled, checked and ready to be instantiated. The only place that knows wasmtime.
//!
//! A component becomes a [`Plugin`] in four steps, each with an error of its own: it is recognised, it imports nothing,
//! it compiles, and it exports the world `postbell:notify/notifier`, whose `describe` answers.

mod census;
mod compile;
mod components;
mod engine;
mod instance;
mod library;
mod scratch;
mod size;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
pub(crate) use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

pub(crate) use census::Census;
pub use compile::Compiler;
#[cfg(feature = "program")]
pub use compile::compile_child;
pub use components::{ComponentError, Verify};
pub(crate) use engine::{EPOCH_MILLISECONDS, engine, instance_ceiling};
pub use instance::{Fault, Instance, InstanceLimits};
pub(crate) use library::{Library, Pin};
pub(crate) use scratch::Scratch;
pub use size::PluginLimits;

use crate::contract::NotifierPre;
use crate::contract::lifecycle::{Manifest, Route};
use crate::journal::ComponentId;

/// A compiled component; cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
}

struct Inner {
    /// As long as it is held, the epoch advances.
    _engine: Arc<Engine>,
    code: NotifierPre<instance::State>,
    census: Arc<Census>,
    manifest: Manifest,
    sha256: [u8; 32],
    facts: Facts,
    component: Vec<u8>,
    /// What says that the component may be loaded, if anything does.
    signature: Option<String>,
}

/// What loading a component cost and gave.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Bytes of the component.
    pub component_bytes: usize,
    /// Bytes of its machine code with the tables that belong to it.
    pub compiled_bytes: usize,
    /// How long compilation took; zero when it came from the cache.
    pub compile_time: Duration,
    /// Whether the machine code came from the cache.
    pub cached: bool,
    /// The memory of a fresh instance, in bytes.
    pub initial_memory: u64,
}

/// Why a component is not loaded. Every message says which step, import or export.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The bytes are a core module, or no WebAssembly at all.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// It is larger than a component may be.
    #[error("it goes over {limit}: {found}, where {most} are allowed")]
    TooLarge {
        /// The limit's name.
        limit: &'static str,
        /// What it has of it.
        found: u64,
        /// What it may have.
        most: u64,
    },
    /// It asks for something of its host. A plugin has nothing but its inputs.
    #[error("it imports {0}; a plugin imports nothing")]
    Imports(String),
    /// The world asks for an export that it lacks or that has another type.
    #[error("it does not export the world postbell:notify/notifier: {0}")]
    Exports(String),
    /// The compiler refused it, or went over its own limits.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// `describe` trapped, overran, or gave a manifest that cannot be used.
    #[error("its `describe` failed: {0}")]
    Describe(String),
}

impl PluginError {
    /// The word for it in metrics: the limit, or the step.
    pub fn reason(&self) -> &'static str {
        match self {
            PluginError::NotAComponent(_) => "not-a-component",
            PluginError::TooLarge { limit, .. } => limit,
            PluginError::Imports(_) => "imports",
            PluginError::Exports(_) => "exports",
            PluginError::Compile(_) => "compile",
            PluginError::Describe(_) => "describe",
        }
    }
}

impl Plugin {
    pub(crate) fn load(
        engine: &Arc<Engine>,
        census: &Arc<Census>,
        bytes: &[u8],
        compiler: &Compiler,
        limits: &PluginLimits,
        cache: Option<&std::path::Path>,
        signature: Option<&str>,
    ) -> Result<Plugin, PluginError> {
        recognise(bytes)?;
        size::check(bytes, limits)?;
        let sha256 = Sha256::digest(bytes).into();
        let compiled = compile::compile(engine, bytes, &sha256, compiler, cache)?;
        let mut facts = Facts {
            component_bytes: bytes.len(),
            compiled_bytes: compiled.code.len(),
            compile_time: compiled.time,
            cached: compiled.cached,
            initial_memory: 0,
        };
        let code = link(engine, &compiled.component(engine)?)?;
        let call_milliseconds = limits.describe_milliseconds;
        let looks = InstanceLimits { call_milliseconds, ..InstanceLimits::default() };
        let mut instance = Instance::new(&code, &looks, census).map_err(describe_error)?;
        let manifest = instance.describe().map_err(describe_error)?;
        check_manifest(&manifest)?;
        facts.initial_memory = instance.memory();
        let (component, signature) = (bytes.to_vec(), signature.map(str::to_owned));
        let (engine, census) = (engine.clone(), census.clone());
        let inner = Inner { _engine: engine, code, census, manifest, sha256, facts, component, signature };
        Ok(Plugin { inner: Arc::new(inner) })
    }

    /// What the plugin says of itself: name, version, routes, state formats.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// SHA-256 of the component: its identity.
    pub fn sha256(&self) -> [u8; 32] {
        self.inner.sha256
    }

    /// The same, as a type of its own.
    pub fn id(&self) -> ComponentId {
        ComponentId(self.inner.sha256)
    }

    /// What loading it cost and gave.
    pub fn facts(&self) -> &Facts {
        &self.inner.facts
    }

    /// A new instance, which no tenant knows: for tests, benches and tools that drive a plugin by hand.
    ///
    /// # Errors
    ///
    /// The plugin fails already, or there are as many instances as the host's options allow.
    pub fn instantiate(&self, limits: &InstanceLimits) -> Result<Instance, Fault> {
        Instance::new(&self.inner.code, limits, &self.inner.census)
    }

    /// Whether an instance of it may be kept that nobody needs at the moment.
    fn is_roomy(&self) -> bool {
        self.inner.census.is_roomy()
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Manifest { name, version, .. } = self.manifest();
        formatter.debug_struct("Plugin").field("name", name).field("version", version).finish_non_exhaustive()
    }
}

/// The imports of a component, for display; none for every component that can be loaded. Nothing is compiled.
///
/// # Errors
///
/// The bytes are no component.
pub fn imports(component: &[u8]) -> Result<Vec<String>, PluginError> {
    recognise(component)?;
    size::imports(component).map_err(|error| PluginError::NotAComponent(error.to_string()))
}

/// The component that is built in: this project's own notification logic.
#[cfg(feature = "bundled-plugin")]
pub fn bundled() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/postbell-notify.wasm"))
}

/// The route that a path belongs to: matched without regard to case, by whole segments; the longest prefix wins.
pub fn route<'a>(routes: &'a [Route], path: &str) -> Option<&'a Route> {
    let matches = |prefix: &str| {
        let prefix = prefix.trim_end_matches('/');
        path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
    };
    routes.iter().filter(|route| matches(&route.prefix)).max_by_key(|route| route.prefix.len())
}

/// WebAssembly's magic, then the binary format's version and layer: 13 and 1 for a component, 1 and 0 for a core module.
fn recognise(bytes: &[u8]) -> Result<(), PluginError> {
    match bytes {
        [0, b'a', b's', b'm', 13, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            Err(PluginError::NotAComponent("it is a core module; wit-component makes a component of it".into()))
        }
        [0, b'a', b's', b'm', ..] => {
            Err(PluginError::NotAComponent("a version of the format that is not known".into()))
        }
        _ => Err(PluginError::NotAComponent("it does not begin with WebAssembly's magic number".into())),
    }
}

fn link(engine: &Engine, component: &Component) -> Result<NotifierPre<instance::State>, PluginError> {
    let imports: Vec<String> =
        component.component_type().imports(engine).map(|(name, _)| format!("`{name}`")).collect();
    if !imports.is_empty() {
        return Err(PluginError::Imports(imports.join(", ")));
    }
    Linker::new(engine)
        .instantiate_pre(component)
        .and_then(NotifierPre::new)
        .map_err(|error| PluginError::Exports(format!("{error:#}")))
}

fn describe_error(fault: Fault) -> PluginError {
    PluginError::Describe(fault.to_string())
}

fn check_manifest(manifest: &Manifest) -> Result<(), PluginError> {
    let unusable = |why: &str| Err(PluginError::Describe(format!("its manifest {why}")));
    if !is_name(&manifest.name) {
        return unusable("has a name that is not of small letters, digits and `-`, at most 64 of them");
    }
    if !is_short(&manifest.version) {
        return unusable("has a version that is empty, longer than 128 bytes, or not of visible characters");
    }
    let formats = &manifest.state_formats;
    if !(1..=MOST_ENTRIES).contains(&formats.len()) || !formats.iter().all(|format| is_short(format)) {
        return unusable("names no state format, too many, or one that is not short and visible");
    }
    if manifest.routes.len() > MOST_ENTRIES || !manifest.routes.iter().all(is_route) {
        return unusable("has too many routes, one whose prefix does not begin with `/`, or one without a method");
    }
    let prefixes = manifest.routes.iter().map(|route| route.prefix.trim_end_matches('/').to_lowercase());
    if prefixes.collect::<BTreeSet<_>>().len() < manifest.routes.len() {
        return unusable("has a route twice");
    }
    Ok(())
}

/// How many routes, state formats, and methods, headers and schemes of a route a manifest may have, each.
const MOST_ENTRIES: usize = 256;

/// Lower-case words joined by `-`, as the contract has it: it stands in file names, logs and metrics.
fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(good)
}

fn is_short(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_route(route: &Route) -> bool {
    let lists = [&route.methods, &route.headers, &route.schemes];
    let short = lists.iter().all(|list| list.len() <= MOST_ENTRIES && list.iter().all(|word| is_short(word)));
    short && route.prefix.starts_with('/') && is_short(&route.prefix) && !route.methods.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_match_whole_segments_without_regard_to_case() {
        let route_of = |prefix: &str| Route {
            prefix: prefix.into(),
            methods: vec!["POST".into()],
            headers: vec![],
            schemes: vec![],
            park_ms: 0,
        };
        let routes = ["/ews", "/EWS/Exchange.asmx", "/service/soap/"].map(route_of);
        let prefix = |path| route(&routes, path).map(|route| &*route.prefix);
        assert_eq!(prefix("/ews/exchange.ASMX"), Some("/EWS/Exchange.asmx"));
        assert_eq!(prefix("/EWS/other"), Some("/ews"));
        assert_eq!(prefix("/ewsx"), None);
        assert_eq!(prefix("/Service/Soap"), Some("/service/soap/"));
        assert_eq!(prefix("/service/soap/WaitSetRequest"), Some("/service/soap/"));
        assert_eq!(prefix("/é"), None);
    }
}
