//! The tenants of a running server: which there are, and how they change while it serves.
//!
//! A change is made of whole tenants that are new, other, or gone, and happens as a whole or not at all: all that can fail
//! comes first, and is undone where something after it fails.

pub mod difference;
pub mod reload;
pub mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{Mutex, MutexGuard, oneshot};

use super::admission::Admission;
use super::config::{Config, TenantConfig, TenantDefaults};
use super::serve::{self, Settings};
use super::signatures::TrustedKeys;
use crate::admin::AdminTenant;
use crate::clock::Clock;
use crate::cluster::{Keeper, Kept};
use crate::plugin::Plugin;
use crate::serve::exchange::{ClientTenant, Exchange};
use crate::serve::front::Front;
use crate::serve::gate::Gate;
use crate::serve::logins::Logins;
use crate::tenant::{Lease, Tenant};
use crate::{Host, TenantOptions};
use stored::Stored;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What is asked for makes no sense; the text says where and what was expected.
    #[error("{0}")]
    Wrong(String),
    /// It does not go together with what is there.
    #[error("{0}")]
    Conflict(String),
    /// There is no tenant of this name.
    #[error("there is no tenant `{0}`")]
    Unknown(String),
    /// Something failed.
    #[error("{0}")]
    Failed(String),
}

/// One tenant that is to be other than it is.
#[derive(Debug)]
pub enum Edit {
    /// It is new, or to be like this.
    Put(Box<TenantConfig>),
    /// It is to be closed.
    Remove(String),
}

/// What a change made.
#[derive(Default)]
pub struct Changed {
    /// Those that are new, or other.
    pub put: Vec<AdminTenant>,
    /// The names of those that are gone.
    pub removed: Vec<String>,
}

/// The tenants of a running server. Cheap to clone.
#[derive(Clone)]
pub struct Tenants(Arc<Shared>);

struct Shared {
    host: Host,
    admission: Admission,
    front: Arc<Front>,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    trusted: TrustedKeys,
    push: Option<(String, String)>,
    defaults: TenantDefaults,
    /// The configuration's file; none: there is none.
    file: Option<PathBuf>,
    stored: Stored,
    /// None: no other node could have a tenant.
    keeper: Option<Keeper>,
    known: Mutex<Known>,
}

/// The tenants by their names; one change at a time has them.
pub type Known = BTreeMap<String, (Arc<TenantConfig>, Tenant)>;

/// What changes of tenants need.
pub struct TenantsParts<'a> {
    /// Where they are opened.
    pub host: Host,
    /// What brings them here and away, where other nodes could have them.
    pub keeper: Option<Keeper>,
    /// Which components may be plugins.
    pub admission: Admission,
    /// Where clients come to them.
    pub front: Arc<Front>,
    /// What their logins come through.
    pub gate: Arc<Gate>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The configuration that the server began with.
    pub config: &'a Config,
    /// Its tenants, in their order.
    pub tenants: Vec<Tenant>,
}

impl Tenants {
    /// Those that the server began with.
    pub fn new(parts: TenantsParts<'_>) -> Tenants {
        let TenantsParts { host, keeper, admission, front, gate, clock, config, tenants } = parts;
        let each = config.tenants.iter().cloned().map(Arc::new).zip(tenants);
        let known = each.map(|(config, tenant)| (config.name.clone(), (config, tenant))).collect();
        Tenants(Arc::new(Shared {
            host,
            admission,
            front,
            gate,
            clock,
            trusted: config.trusted_keys.clone(),
            push: config.push.setting(),
            defaults: config.tenant_defaults.clone(),
            file: config.file.clone(),
            stored: Stored::new(config.data.as_deref(), config.file.as_deref()),
            keeper,
            known: Mutex::new(known),
        }))
    }

    /// All of them, for as long as nothing may change.
    pub async fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().await
    }

    /// Makes a tenant of the server's own, or changes it: `table` is what a `[[tenant]]` of the configuration holds, without
    /// its name. It is kept in the data directory.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; then nothing was changed.
    pub async fn put(&self, name: &str, table: toml::Table) -> Result<Changed, ChangeError> {
        self.refuse_in_cluster()?;
        let mut known = self.known().await;
        if known.get(name).is_some_and(|(config, _)| !config.stored) {
            return Err(in_the_configuration(name));
        }
        let (text, config) = self.0.stored.read(name, table, &self.0.defaults)?;
        let edit = Edit::Put(Box::new(config));
        self.apply(&mut known, vec![edit], || self.0.stored.keep(name, &text)).await
    }

    /// Closes a tenant of the server's own; with `purge` nothing is kept of it.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; then nothing was changed, or, if it could not be purged, the tenant is closed.
    pub async fn remove(&self, name: &str, purge: bool) -> Result<Changed, ChangeError> {
        self.refuse_in_cluster()?;
        let mut known = self.known().await;
        match known.get(name) {
            Some((config, _)) if !config.stored => return Err(in_the_configuration(name)),
            Some(_) => {}
            None if purge && self.has_data(name)? => {
                self.purge(name)?;
                return Ok(Changed { put: vec![], removed: vec![name.to_owned()] });
            }
            None => return Err(ChangeError::Unknown(name.to_owned())),
        }
        let edit = Edit::Remove(name.to_owned());
        let changed = self.apply(&mut known, vec![edit], || self.0.stored.forget(name)).await?;
        if purge {
            self.purge(name)?;
        }
        Ok(changed)
    }

    /// A tenant of one node's own could not go to any other.
    fn refuse_in_cluster(&self) -> Result<(), ChangeError> {
        let why = "in a cluster, tenants stand in the configuration of all its nodes, which SIGHUP has read again";
        self.0.keeper.as_ref().map_or(Ok(()), |_| Err(ChangeError::Conflict(why.into())))
    }

    fn has_data(&self, name: &str) -> Result<bool, ChangeError> {
        let seats = self.0.host.journal().seats().map_err(failed)?;
        Ok(seats.iter().any(|seat| &*seat.tenant == name))
    }

    /// The tenant is closed, so nobody uses its seats.
    fn purge(&self, name: &str) -> Result<(), ChangeError> {
        let journal = self.0.host.journal();
        for seat in journal.seats().map_err(failed)?.iter().filter(|seat| &*seat.tenant == name) {
            journal.remove(seat).map_err(failed)?;
        }
        self.0.host.collect_components();
        tracing::info!(tenant = name, "nothing is kept of the tenant any more");
        Ok(())
    }

    /// Makes all of these changes, or none. `keep` makes them last, once nothing else can fail.
    async fn apply(
        &self,
        known: &mut Known,
        edits: Vec<Edit>,
        keep: impl FnOnce() -> Result<(), ChangeError>,
    ) -> Result<Changed, ChangeError> {
        let prepared = self.prepare(known, edits)?;
        let mut begun = Begun::default();
        let done = match self.begin(known, &prepared, &mut begun).await {
            Ok(()) => keep(),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => Ok(self.publish(known, prepared, begun).await),
            Err(error) => {
                begun.undo().await;
                Err(error)
            }
        }
    }

    /// What can be known without touching anything.
    fn prepare(&self, known: &Known, edits: Vec<Edit>) -> Result<Vec<Prepared>, ChangeError> {
        let gone: BTreeSet<&str> = edits.iter().map(Edit::name).collect();
        let stay = known.values().map(|(config, _)| &**config).filter(|config| !gone.contains(&*config.name));
        let put = edits.iter().filter_map(|edit| if let Edit::Put(config) = edit { Some(&**config) } else { None });
        refuse_shared(stay.chain(put))?;
        edits.into_iter().map(|edit| self.prepare_one(known, edit)).collect()
    }

    fn prepare_one(&self, known: &Known, edit: Edit) -> Result<Prepared, ChangeError> {
        let config = match edit {
            Edit::Put(config) => Arc::new(*config),
            Edit::Remove(name) => return Ok(Prepared::Remove(name)),
        };
        let shared = &self.0;
        let logins = serve::logins(&config, &shared.gate, &shared.clock).map_err(failed)?;
        let logins = match (shared.front.exchange.named(&config.name), known.get(&config.name)) {
            (Some(served), Some((former, _))) if components(former) != components(&config) => {
                let name = served.tenant.name();
                return Err(ChangeError::Conflict(format!("tenant {name}: its plugin changes by `postbell swap`")));
            }
            (Some(served), _) => logins.with_tokens_of(&served.logins),
            (None, _) => logins,
        };
        let wrong = |error: &dyn std::fmt::Display| ChangeError::Wrong(format!("tenant {}: {error}", config.name));
        let mut seats = Vec::new();
        for (file, settings) in serve::seats(&config, shared.push.clone()) {
            let plugin = serve::load(&shared.admission, &config.name, file, &shared.trusted);
            let plugin = plugin.map_err(|error| wrong(&error))?;
            shared.host.try_settings(&plugin, &settings).map_err(|error| wrong(&error))?;
            seats.push((plugin, settings));
        }
        Ok(Prepared::Put { config, seats, logins: Box::new(logins) })
    }

    /// Opens what is new, and gives the others their settings.
    async fn begin(&self, known: &Known, prepared: &[Prepared], begun: &mut Begun) -> Result<(), ChangeError> {
        for one in prepared {
            let Prepared::Put { config, seats, .. } = one else { continue };
            let wrong = |error: &dyn std::fmt::Display| ChangeError::Failed(format!("tenant {}: {error}", config.name));
            match known.get(&config.name) {
                None => {
                    for (plugin, settings) in seats {
                        self.open(config, plugin, settings, begun).await.map_err(|error| wrong(&error))?;
                    }
                }
                Some((former, tenant)) => {
                    let before = serve::seats(former, self.0.push.clone());
                    for ((seat, (_, settings)), (_, before)) in tenant.seats().zip(seats).zip(before) {
                        if before != *settings {
                            seat.configure(settings.clone()).await.map_err(|why| wrong(&why))?;
                            begun.configured.push((seat, before));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens one seat of a new tenant.
    async fn open(
        &self,
        config: &TenantConfig,
        plugin: &Plugin,
        settings: &Settings,
        begun: &mut Begun,
    ) -> anyhow::Result<()> {
        let lease = self.0.keeper.as_ref().map(|_| begun.leases.entry(config.name.clone()).or_default().clone());
        let waits = lease.is_none();
        let options = TenantOptions { settings: settings.clone(), limits: config.limits.clone(), lease };
        let (opened, result) = oneshot::channel();
        // An error means that nobody waits.
        let told = move |outcome| drop(opened.send(outcome));
        let seat = self.0.host.open_later(&config.name, plugin, options, told)?;
        let former = begun.opened.insert(config.name.clone(), seat.clone());
        if let Some(former) = former {
            match former.with(&seat) {
                Ok(tenant) => drop(begun.opened.insert(config.name.clone(), tenant)),
                Err(error) => {
                    seat.close().await;
                    begun.opened.insert(config.name.clone(), former);
                    return Err(error.into());
                }
            }
        }
        if waits {
            result.await.context("the host has stopped")??;
        }
        Ok(())
    }

    /// Nothing fails from here on.
    async fn publish(&self, known: &mut Known, prepared: Vec<Prepared>, mut begun: Begun) -> Changed {
        let (mut changed, mut served, mut closing) = (Changed::default(), Vec::new(), Vec::new());
        for one in prepared {
            match one {
                Prepared::Remove(name) => {
                    closing.extend(known.remove(&name).map(|(_, tenant)| tenant));
                    changed.removed.push(name);
                }
                Prepared::Put { config, logins, .. } => {
                    let former = known.get(&config.name).map(|(_, tenant)| tenant.clone());
                    let tenant = begun.opened.remove(&config.name).or(former).expect("it was opened, now or before");
                    tenant.limit(config.limits.clone());
                    if let (Some(keeper), Some(lease)) = (&self.0.keeper, begun.leases.remove(&config.name)) {
                        keeper.keep(Kept { tenant: tenant.clone(), lease });
                    }
                    let logins = Arc::new(*logins);
                    changed.put.push(serve::admin_tenant(&config, &tenant, logins.clone()));
                    served.push(client_tenant(&config, &tenant, logins));
                    known.insert(config.name.clone(), (config, tenant));
                }
            }
        }
        self.exchange().change(served, &changed.removed);
        for tenant in closing {
            if let Some(keeper) = &self.0.keeper {
                keeper.forget(tenant.name());
            }
            tenant.close().await;
        }
        changed
    }

    fn exchange(&self) -> &Exchange {
        &self.0.front.exchange
    }
}

impl Edit {
    fn name(&self) -> &str {
        match self {
            Edit::Put(config) => &config.name,
            Edit::Remove(name) => name,
        }
    }
}

/// A tenant that is to be other, with all that this needs.
enum Prepared {
    Put {
        config: Arc<TenantConfig>,
        /// The plugin of each seat, with its settings.
        seats: Vec<(Plugin, Settings)>,
        logins: Box<Logins>,
    },
    Remove(String),
}

/// What is undone where something fails.
#[derive(Default)]
struct Begun {
    opened: BTreeMap<String, Tenant>,
    leases: BTreeMap<String, Arc<Lease>>,
    configured: Vec<(Tenant, Settings)>,
}

impl Begun {
    async fn undo(self) {
        for tenant in self.opened.into_values() {
            tenant.close().await;
        }
        for (tenant, before) in self.configured {
            if let Err(why) = tenant.configure(before).await {
                tracing::error!(tenant = tenant.name(), why, "it does not take back its former settings");
            }
        }
    }
}

/// As clients come to it.
pub fn client_tenant(config: &TenantConfig, tenant: &Tenant, logins: Arc<Logins>) -> ClientTenant {
    let (hosts, domains, body_bytes) = (config.hosts.clone(), config.domains.clone(), config.body_bytes);
    ClientTenant { tenant: tenant.clone(), hosts, domains, body_bytes, logins }
}

/// The components of a tenant's seats; none: the one that is built in.
fn components(config: &TenantConfig) -> Vec<Option<&Path>> {
    std::iter::once(config.plugin.as_deref()).chain(config.seats.iter().map(|seat| Some(&*seat.plugin))).collect()
}

/// No two tenants may have a host or a domain.
fn refuse_shared<'a>(tenants: impl Iterator<Item = &'a TenantConfig>) -> Result<(), ChangeError> {
    let mut owners = BTreeMap::new();
    for tenant in tenants {
        let hosts = tenant.hosts.iter().map(|host| ("host", host));
        for taken in hosts.chain(tenant.domains.iter().map(|domain| ("domain", domain))) {
            if let Some(owner) = owners.insert(taken, &*tenant.name).filter(|owner| **owner != tenant.name) {
                let (word, value) = taken;
                let name = &tenant.name;
                return Err(ChangeError::Conflict(format!("the {word} {value:?} is wanted by {owner} and {name}")));
            }
        }
    }
    Ok(())
}

fn in_the_configuration(name: &str) -> ChangeError {
    ChangeError::Conflict(format!("tenant {name} stands in the configuration: change it there, and send SIGHUP"))
}

fn failed(error: impl std::fmt::Display) -> ChangeError {
    ChangeError::Failed(error.to_string())
}

/// The folder of the configuration's file, or the one that the server runs in.
fn folder(file: Option<&Path>) -> &Path {
    file.and_then(Path::parent).unwrap_or(Path::new(""))
}
