//! What handles stand for. A handle is a number that is given once: one that was closed, or never given, is found out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use host::plugin::Plugin;
use host::tenant::Tenant;

use crate::answers::{HangUp, Worker};
use crate::border::{Failure, Status};
use crate::journal::LetGo;

/// A host, and the thread that reads the answers of its tenants.
pub struct OpenHost {
    pub host: host::Host,
    pub worker: Worker,
    /// Of a journal in a file.
    pub let_go: Mutex<Option<LetGo>>,
}

/// A plugin, with the host that it was loaded for.
#[derive(Clone)]
pub struct LoadedPlugin {
    pub host: u64,
    pub plugin: Plugin,
}

/// A tenant, with the host that it lives in.
#[derive(Clone)]
pub struct OpenTenant {
    pub host: u64,
    pub tenant: Tenant,
    pub worker: Worker,
}

/// What a handle can stand for.
#[derive(Clone)]
pub enum Object {
    /// `postbell_host`.
    Host(Arc<OpenHost>),
    /// `postbell_plugin`.
    Plugin(LoadedPlugin),
    /// `postbell_tenant`.
    Tenant(OpenTenant),
    /// `postbell_answer`.
    Answer(HangUp),
}

fn objects() -> MutexGuard<'static, BTreeMap<u64, Object>> {
    static OBJECTS: OnceLock<Mutex<BTreeMap<u64, Object>>> = OnceLock::new();
    let objects = OBJECTS.get_or_init(Mutex::default);
    objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A new handle for this.
pub fn add(object: Object) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let handle = NEXT.fetch_add(1, Ordering::Relaxed);
    objects().insert(handle, object);
    handle
}

/// The tenants of a host.
pub fn tenants_of(host: u64) -> Vec<(u64, OpenTenant)> {
    let of_host = |(handle, object): (&u64, &Object)| match object {
        Object::Tenant(tenant) if tenant.host == host => Some((*handle, tenant.clone())),
        _ => None,
    };
    objects().iter().filter_map(of_host).collect()
}

/// Lookups, and the same that take the handle back: of several callers at once, one has what it stood for.
macro_rules! lookup {
    ($name:ident, $take:ident, $case:ident, $type:ty) => {
        /// What the handle stands for, if it is of this kind.
        pub fn $name(handle: u64) -> Result<$type, Failure> {
            match objects().get(&handle) {
                Some(Object::$case(object)) => Ok(object.clone()),
                _ => Err(no_handle(stringify!($name), handle)),
            }
        }

        /// What the handle stood for, if it is of this kind; from now on it stands for nothing.
        pub fn $take(handle: u64) -> Result<$type, Failure> {
            match objects().entry(handle) {
                Entry::Occupied(entry) if matches!(entry.get(), Object::$case(_)) => match entry.remove() {
                    Object::$case(object) => Ok(object),
                    _ => unreachable!("it was of this kind"),
                },
                _ => Err(no_handle(stringify!($name), handle)),
            }
        }
    };
}

lookup!(host, take_host, Host, Arc<OpenHost>);
lookup!(plugin, take_plugin, Plugin, LoadedPlugin);
lookup!(tenant, take_tenant, Tenant, OpenTenant);
lookup!(answer, take_answer, Answer, HangUp);

/// A plugin, if it is of this host.
pub fn plugin_of(host: u64, handle: u64) -> Result<Plugin, Failure> {
    let LoadedPlugin { host: of, plugin } = plugin(handle)?;
    if of != host {
        return Err(Failure::new(Status::Handle, format!("plugin {handle} is of another host")));
    }
    Ok(plugin)
}

/// The handle is none of this kind.
pub fn no_handle(kind: &str, handle: u64) -> Failure {
    Failure::new(Status::Handle, format!("{handle} is no {kind}: it is none, was closed, or is of another kind"))
}
