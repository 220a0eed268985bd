//! Hosts, plugins and tenants: how they begin and end.

use std::ffi::c_char;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use host::tenant::SwapOptions;
use host::{HostError, OpenError, TenantOptions};

use crate::answers::Worker;
use crate::border::{Failure, Status, blocking_call, list, optional_text, place, record, text};
use crate::journal::{FileJournal, LetGo};
use crate::registry::{self, Object, OpenHost, OpenTenant};

/// What a host is made of. All zero: a journal in memory, no cache, as many threads as processors, and a pool of 1,000
/// instances.
#[repr(C)]
pub struct HostOptions {
    /// The file in which inputs are kept; null: in memory, nothing outlives the host.
    pub journal: *const c_char,
    /// The folder for compiled plugins; null: each load compiles.
    pub cache: *const c_char,
    /// How many instances there can be at once; 0: 1,000.
    pub instances: u32,
    /// How many threads the tenants are spread over; 0: one for each processor.
    pub shards: u32,
    /// Reserve no memory for instances at start: slower, and what tools that watch memory want.
    pub without_pool: bool,
}

/// A setting of a plugin.
#[repr(C)]
pub struct Setting {
    /// Its name.
    pub key: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// Opens a host. `options` may be null.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_host_open(options: *const HostOptions, opened: *mut u64) -> Status {
    blocking_call(|| {
        let opened = place(opened, "opened")?;
        *opened = 0;
        let defaults = || Ok((host::HostOptions::default(), None));
        let given = (!options.is_null()).then(|| record(options, "options")).transpose()?;
        let (options, let_go) = given.map_or_else(defaults, host_options)?;
        let host = host::Host::new(options).map_err(|HostError::Engine(why)| Failure::new(Status::Engine, why))?;
        let (worker, let_go) = (Worker::start(), Mutex::new(let_go));
        *opened = registry::add(Object::Host(Arc::new(OpenHost { host, worker, let_go })));
        Ok(())
    })
}

fn host_options(given: &HostOptions) -> Result<(host::HostOptions, Option<LetGo>), Failure> {
    let (mut options, mut kept) = (host::HostOptions::default(), None);
    if let Some(path) = optional_text(given.journal, "journal")? {
        let opened = FileJournal::open(Path::new(path));
        let (journal, let_go) = opened.map_err(|error| Failure::new(Status::Journal, error))?;
        (options.journal, kept) = (Arc::new(journal), Some(let_go));
    }
    options.cache = optional_text(given.cache, "cache")?.map(PathBuf::from);
    if given.instances > 0 {
        options.instances = given.instances;
    }
    if given.shards > 0 {
        options.shards = given.shards as usize;
    }
    options.pool = !given.without_pool;
    Ok((options, kept))
}

/// Closes a host, with the tenants that are open in it: their clients get their farewells first. When it returns, every
/// `on_end` has come, and the journal can be opened again.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_host_close(host: u64) -> Status {
    blocking_call(|| {
        let closing = registry::host(host)?;
        for (handle, tenant) in registry::tenants_of(host) {
            pollster::block_on(tenant.tenant.close());
            registry::remove(handle);
        }
        registry::remove(host);
        closing.worker.stop();
        let let_go = closing.let_go.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(closing);
        if let Some(let_go) = let_go {
            let_go.wait();
        }
        Ok(())
    })
}

/// Loads the plugin that is built in.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_plugin_bundled(host: u64, loaded: *mut u64) -> Status {
    blocking_call(|| load(host, host::plugin::bundled(), place(loaded, "loaded")?))
}

/// Compiles a component, or takes its code from the cache, and checks that it is a plugin.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_plugin_load(
    host: u64,
    component: *const u8,
    component_length: usize,
    loaded: *mut u64,
) -> Status {
    blocking_call(|| {
        let loaded = place(loaded, "loaded")?;
        load(host, list(component, component_length, "component")?, loaded)
    })
}

fn load(host: u64, component: &[u8], loaded: &mut u64) -> Result<(), Failure> {
    *loaded = 0;
    let plugin = registry::host(host)?.host.load(component).map_err(|error| Failure::new(Status::Plugin, error))?;
    *loaded = registry::add(Object::Plugin(plugin));
    Ok(())
}

/// Frees a plugin. Tenants that run it go on.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_plugin_free(plugin: u64) -> Status {
    blocking_call(|| {
        registry::plugin(plugin)?;
        registry::remove(plugin);
        Ok(())
    })
}

/// Opens a tenant: a new one if the journal does not know its name, else one that goes on where it was. The plugin must be
/// of the same host.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_tenant_open(
    host: u64,
    name: *const c_char,
    plugin: u64,
    settings: *const Setting,
    settings_count: usize,
    opened: *mut u64,
) -> Status {
    blocking_call(|| {
        let opened = place(opened, "opened")?;
        *opened = 0;
        let (of, plugin, name) = (registry::host(host)?, registry::plugin(plugin)?, text(name, "name")?);
        let pair =
            |setting: &Setting| Ok((text(setting.key, "key")?.to_owned(), text(setting.value, "value")?.to_owned()));
        let settings = list(settings, settings_count, "settings")?.iter().map(pair).collect::<Result<_, Failure>>()?;
        let options = TenantOptions { settings, ..TenantOptions::default() };
        let tenant = of.host.open(name, &plugin, options).map_err(|error| refused(&error))?;
        *opened = registry::add(Object::Tenant(OpenTenant { host, tenant, worker: of.worker.clone() }));
        Ok(())
    })
}

fn refused(error: &OpenError) -> Failure {
    let status = match error {
        OpenError::Duplicate => Status::Duplicate,
        OpenError::Settings(_) => Status::Settings,
        OpenError::Fault(_) => Status::Plugin,
        OpenError::Closed => Status::Closed,
        OpenError::Full(_) => Status::Busy,
        OpenError::History(_) | OpenError::Journal(_) => Status::Journal,
    };
    Failure::new(status, error)
}

/// Closes a tenant: its clients get their farewells, and all of that is committed.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_tenant_close(tenant: u64) -> Status {
    blocking_call(|| {
        let open = registry::tenant(tenant)?;
        registry::remove(tenant);
        pollster::block_on(open.tenant.close());
        Ok(())
    })
}

/// Has another plugin take over, while clients stay connected. Returns once it has, or once it is clear that it will not.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_tenant_swap(tenant: u64, plugin: u64) -> Status {
    blocking_call(|| {
        let (open, plugin) = (registry::tenant(tenant)?, registry::plugin(plugin)?);
        let swapping = open.tenant.swap(&plugin, SwapOptions::default());
        pollster::block_on(swapping.end()).map(drop).map_err(|error| Failure::new(Status::Swap, error))
    })
}
