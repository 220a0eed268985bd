//! What handles stand for. A handle is a number that is given once: one that was closed, or never given, is found out.

use std::collections::BTreeMap;
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
    Plugin(Plugin),
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

/// The handle stands for nothing any more; gives what it stood for, to be dropped where nothing is locked.
pub fn remove(handle: u64) -> Option<Object> {
    objects().remove(&handle)
}

/// The tenants of a host.
pub fn tenants_of(host: u64) -> Vec<(u64, OpenTenant)> {
    let of_host = |(handle, object): (&u64, &Object)| match object {
        Object::Tenant(tenant) if tenant.host == host => Some((*handle, tenant.clone())),
        _ => None,
    };
    objects().iter().filter_map(of_host).collect()
}

macro_rules! lookup {
    ($name:ident, $case:ident, $type:ty) => {
        /// What the handle stands for, if it is of this kind.
        pub fn $name(handle: u64) -> Result<$type, Failure> {
            match objects().get(&handle) {
                Some(Object::$case(object)) => Ok(object.clone()),
                _ => Err(no_handle(stringify!($name), handle)),
            }
        }
    };
}

lookup!(host, Host, Arc<OpenHost>);
lookup!(plugin, Plugin, Plugin);
lookup!(tenant, Tenant, OpenTenant);
lookup!(answer, Answer, HangUp);

/// The handle is none of this kind.
pub fn no_handle(kind: &str, handle: u64) -> Failure {
    Failure::new(Status::Handle, format!("{handle} is no {kind}: it is none, was closed, or is of another kind"))
}
