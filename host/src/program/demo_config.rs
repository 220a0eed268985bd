//! What `postbell serve --demo` serves: a tenant whose users and keys everybody knows.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::anyhow;
use zeroize::Zeroizing;

use super::Failure;
use super::cluster::ClusterConfig;
use super::config::{
    ADMIN_LISTEN, Config, Fixed, INSTANCES, JournalConfig, LISTEN, Limits, METRICS_TENANTS, OPEN_TENANTS, PushConfig,
    Setting, TenantConfig,
};
use super::demo::{DOMAIN, PASSWORD};
use super::signatures::TrustedKeys;
use crate::contract::changes::Account;
use crate::contract::requests::Rank;
use crate::journal::JetStreamOptions;
use crate::outbound::addresses::Network;
use crate::outbound::caller::CallerLimits;
use crate::plugin::PluginLimits;
use crate::serve::directory::{Directory, MayActFor, User};
use crate::serve::passwords;
use crate::serve::proxies::Proxies;
use crate::tenant;

const INGEST_KEY: &str = "demo";
const ADMIN_KEY: &str = "demo-admin";

/// The demo's configuration, with what the command line says otherwise.
///
/// # Errors
///
/// The operating system gives no random bytes.
pub fn config(
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    data: Option<PathBuf>,
    settings: Vec<Setting>,
) -> Result<Config, Failure> {
    let key = |text: &str| Some(Zeroizing::new(text.to_owned()));
    Ok(Config {
        listen: listen.unwrap_or(LISTEN.parse().expect("an address")),
        tls: None,
        proxies: Proxies::default(),
        admin_listen: admin_listen.unwrap_or(ADMIN_LISTEN.parse().expect("an address")),
        data,
        admin_key: key(ADMIN_KEY),
        limits: Limits::default(),
        journal: JournalConfig::default(),
        cluster: None,
        push: PushConfig { limits: CallerLimits { allow: loopback(), ..CallerLimits::default() }, authorities: None },
        trusted_keys: TrustedKeys::default(),
        plugin_limits: PluginLimits::default(),
        metrics_tenants: METRICS_TENANTS,
        instances: INSTANCES,
        pool: true,
        open_tenants: OPEN_TENANTS,
        tenant_defaults: (tenant::Limits::default(), Limits::default().body.bytes),
        file: None,
        fixed: Fixed::default(),
        tenants: vec![TenantConfig {
            name: DOMAIN.to_owned(),
            at: None,
            hosts: Vec::new(),
            domains: vec![DOMAIN.to_owned()],
            plugin: None,
            limits: tenant::Limits::default(),
            body_bytes: Limits::default().body.bytes,
            settings,
            seats: Vec::new(),
            users: users()?,
            authentication: None,
            ingest_key: key(INGEST_KEY),
            admin_key: key(ADMIN_KEY),
            preauth_key: key(&"0".repeat(64)),
            stored: false,
        }],
    })
}

/// The demo's cluster, where it has one: a single server.
pub fn cluster() -> ClusterConfig {
    let options = JetStreamOptions { replicas: 1, ..JetStreamOptions::default() };
    ClusterConfig { options, ..ClusterConfig::default() }
}

/// What listens beside the demo may be called, so that push can be tried.
fn loopback() -> Vec<Network> {
    ["127.0.0.0/8", "::1/128"].map(|network| network.parse().expect("a network")).into()
}

fn users() -> Result<Directory, Failure> {
    let hash = passwords::hash(PASSWORD).map_err(|error| anyhow!("the demo's password cannot be hashed: {error}"))?;
    let user = |(local, rank, display_name): (&str, Rank, &str)| {
        let name = format!("{local}@{DOMAIN}");
        User {
            account: Account { id: name.clone(), name, aliases: Vec::new() },
            login: None,
            password: Some(hash.clone()),
            rank,
            may_act_for: MayActFor::These(Vec::new()),
            display_name: display_name.to_owned(),
        }
    };
    let users = [
        ("alice", Rank::User, "Alice"),
        ("bob", Rank::User, "Bob"),
        ("carol", Rank::User, "Carol"),
        ("admin", Rank::Administrator, "Administrator"),
    ];
    Ok(Directory::new(users.map(user).into()).expect("the demo's users are different"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_logs_in_by_address_or_local_part() {
        let users = users().expect("random bytes");
        for local in ["alice", "bob", "carol", "admin"] {
            let user = users.by_login(local).expect(local);
            assert_eq!((&user.account.id, &user.account.name), (&format!("{local}@example.org"), &user.account.id));
            assert!(users.by_login(&user.account.name).is_some());
        }
        assert_eq!(users.by_login("admin").expect("admin").rank, Rank::Administrator);
    }
}
