//! The tables of tenants: [[tenant]], in the configuration or in a file of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use zeroize::Zeroizing;

use super::authentication::{Authentication, AuthenticationTable};
use super::limits::LimitsTable;
use super::server::{JournalConfig, Limits, PUSH_ALLOW, ServerTable};
use super::values::{Domain, HostName, Key, SettingValue, TenantName};
use crate::program::toml_file::{Mistake, Position, TomlFile};
use crate::program::users;
use crate::serve::directory::Directory;
use crate::tenant;

/// What a tenant may use if it does not say otherwise, and the bytes of a client's request.
pub type TenantDefaults = (tenant::Limits, usize);

/// One tenant.
#[derive(Clone, Debug)]
pub struct TenantConfig {
    /// Its name, in URLs and logs.
    pub name: String,
    /// Where the file names it; none: it is the demo's.
    pub at: Option<Position>,
    /// The names in `Host` that lead to it, in lower case.
    pub hosts: Vec<String>,
    /// Its mail domains, in lower case.
    pub domains: Vec<String>,
    /// The component; none: the one that is built in.
    pub plugin: Option<PathBuf>,
    /// What it may use.
    pub limits: tenant::Limits,
    /// The bytes of a client's request.
    pub body_bytes: usize,
    /// The plugin's settings.
    pub settings: Vec<Setting>,
    /// The plugins beside it.
    pub seats: Vec<SeatConfig>,
    /// Who may log in.
    pub users: Directory,
    /// Who verifies their passwords; none: the hashes of `users` do.
    pub authentication: Option<Authentication>,
    /// The key to send changes; none: closed.
    pub ingest_key: Option<Zeroizing<String>>,
    /// The key to what concerns this tenant; none: closed.
    pub admin_key: Option<Zeroizing<String>>,
    /// The key of Zimbra's preauth; none: closed.
    pub preauth_key: Option<Zeroizing<String>>,
    /// It was made while the server ran, and is kept in the data directory.
    pub stored: bool,
}

/// A further plugin of a tenant's.
#[derive(Clone, Debug)]
pub struct SeatConfig {
    /// The component.
    pub plugin: PathBuf,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// Where the file names it.
    pub at: Position,
}

/// A setting of a plugin's.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// Where the file gives it; none: it is from the command line.
    pub at: Option<Position>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TenantTable {
    name: Spanned<TenantName>,
    #[serde(default)]
    hosts: Vec<Spanned<HostName>>,
    domains: Spanned<Vec<Spanned<Domain>>>,
    plugin: Option<Spanned<PathBuf>>,
    #[serde(default)]
    settings: BTreeMap<Spanned<String>, SettingValue>,
    #[serde(default)]
    seat: Vec<SeatTable>,
    users: Option<PathBuf>,
    authentication: Option<Spanned<AuthenticationTable>>,
    ingest_key: Option<Key>,
    admin_key: Option<Key>,
    preauth_key: Option<Key>,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SeatTable {
    plugin: Spanned<PathBuf>,
    #[serde(default)]
    settings: BTreeMap<Spanned<String>, SettingValue>,
}

/// One tenant, from a file of its own.
///
/// # Errors
///
/// The first mistake in it.
pub fn tenant(file: &TomlFile, defaults: &TenantDefaults) -> Result<TenantConfig, Mistake> {
    let table: TenantTable = file.parse()?;
    refuse_repeated(file, "host", table.hosts.iter().map(Text::as_text))?;
    refuse_repeated(file, "domain", table.domains.get_ref().iter().map(Text::as_text))?;
    tenant_config(file, table, defaults)
}

/// All tenants of a configuration, none of which has what another has.
pub(super) fn tenants(
    file: &TomlFile,
    tables: Vec<TenantTable>,
    defaults: &TenantDefaults,
) -> Result<Vec<TenantConfig>, Mistake> {
    if tables.is_empty() {
        return Err(file.mistake(0..0, "expected at least one [[tenant]]"));
    }
    refuse_repeated(file, "tenant name", tables.iter().map(|tenant| tenant.name.as_text()))?;
    refuse_repeated(file, "host", tables.iter().flat_map(|tenant| &tenant.hosts).map(Text::as_text))?;
    let domains = tables.iter().flat_map(|tenant| tenant.domains.get_ref());
    refuse_repeated(file, "domain", domains.map(Text::as_text))?;
    tables.into_iter().map(|table| tenant_config(file, table, defaults)).collect()
}

/// What a tenant may use if it does not say otherwise, and the bytes of a client's request.
pub(super) fn tenant_limits(server: &ServerTable, limits: &LimitsTable) -> (tenant::Limits, usize) {
    let Limits { unread_bytes, unread_parts, body, .. } = server.limits();
    let JournalConfig { retention, uncommitted_inputs, uncommitted_bytes, swap_behind_bytes, .. } = server.journal();
    let mut common = tenant::Limits {
        unread_bytes,
        unread_parts,
        retention,
        uncommitted_inputs,
        uncommitted_bytes,
        swap_behind_bytes,
        ..tenant::Limits::default()
    };
    limits.apply(&mut common);
    (common, limits.body_bytes().unwrap_or(body.bytes))
}

fn tenant_config(
    file: &TomlFile,
    table: TenantTable,
    (limits, body_bytes): &(tenant::Limits, usize),
) -> Result<TenantConfig, Mistake> {
    let mut limits = limits.clone();
    table.limits.apply(&mut limits);
    if table.domains.get_ref().is_empty() {
        return Err(file.mistake(table.domains.span(), "expected at least one domain"));
    }
    let plugin = plugin(file, &table)?;
    let text = |key: Option<Key>| key.map(|key| key.0);
    Ok(TenantConfig {
        at: Some(file.position(table.name.span())),
        name: table.name.into_inner().0,
        hosts: table.hosts.into_iter().map(|host| host.into_inner().0).collect(),
        domains: table.domains.into_inner().into_iter().map(|domain| domain.into_inner().0).collect(),
        plugin,
        limits,
        body_bytes: table.limits.body_bytes().unwrap_or(*body_bytes),
        settings: settings(file, table.settings)?,
        seats: table.seat.into_iter().map(|table| seat(file, table)).collect::<Result<_, _>>()?,
        users: match table.users {
            Some(users) => users::load(&file.resolve(&users))?,
            None => Directory::default(),
        },
        authentication: table.authentication.map(|table| AuthenticationTable::read(file, table)).transpose()?,
        ingest_key: text(table.ingest_key),
        admin_key: text(table.admin_key),
        preauth_key: text(table.preauth_key),
        stored: false,
    })
}

fn plugin(file: &TomlFile, table: &TenantTable) -> Result<Option<PathBuf>, Mistake> {
    match &table.plugin {
        Some(path) => Ok(Some(file.resolve(path.get_ref()))),
        None if cfg!(feature = "bundled-plugin") => Ok(None),
        None => Err(file.mistake(table.name.span(), "expected `plugin`: no plugin is built into this program")),
    }
}

fn seat(file: &TomlFile, table: SeatTable) -> Result<SeatConfig, Mistake> {
    let at = file.position(table.plugin.span());
    Ok(SeatConfig { plugin: file.resolve(table.plugin.get_ref()), settings: settings(file, table.settings)?, at })
}

fn settings(file: &TomlFile, table: BTreeMap<Spanned<String>, SettingValue>) -> Result<Vec<Setting>, Mistake> {
    table.into_iter().map(|(key, value)| setting(file, key, value)).collect()
}

fn setting(file: &TomlFile, key: Spanned<String>, value: SettingValue) -> Result<Setting, Mistake> {
    let at = file.position(key.span());
    let other = match key.get_ref().as_str() {
        "domains" => "the tenant's `domains`",
        PUSH_ALLOW => "`allow` under [push]",
        _ => return Ok(Setting { key: key.into_inner(), value: value.0, at: Some(at) }),
    };
    Err(at.mistake(format!("the plugin gets `{}` from {other}; expected other settings only", key.get_ref())))
}

/// Refuses a text that stands in the file twice.
fn refuse_repeated<'a>(
    file: &TomlFile,
    what: &str,
    texts: impl Iterator<Item = Spanned<&'a str>>,
) -> Result<(), Mistake> {
    let mut first = HashMap::new();
    for text in texts {
        if let Some(earlier) = first.insert(*text.get_ref(), text.span()) {
            let line = file.position(earlier).line;
            let message = format!("the {what} {:?} is taken in line {line}; expected another", text.get_ref());
            return Err(file.mistake(text.span(), message));
        }
    }
    Ok(())
}

trait Text {
    fn as_text(&self) -> Spanned<&str>;
}

impl<T: AsRef<str>> Text for Spanned<T> {
    fn as_text(&self) -> Spanned<&str> {
        Spanned::new(self.span(), self.get_ref().as_ref())
    }
}
