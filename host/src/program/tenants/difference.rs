//! What is other in a tenant, in words for the log: the names of what changed, and of settings and limits the values.

use std::path::Path;

use super::super::config::TenantConfig;

/// What changed from one to the other; empty: nothing.
pub fn differences(former: &TenantConfig, new: &TenantConfig) -> Vec<String> {
    let mut differences = settings(former, new);
    let words = [
        ("hosts", former.hosts == new.hosts),
        ("domains", former.domains == new.domains),
        ("plugin", former.plugin == new.plugin),
        ("seat", seats(former) == seats(new)),
        ("limits", former.limits == new.limits),
        ("body-bytes", former.body_bytes == new.body_bytes),
        ("users", former.users == new.users),
        ("ingest-key", former.ingest_key == new.ingest_key),
        ("admin-key", former.admin_key == new.admin_key),
        ("preauth-key", former.preauth_key == new.preauth_key),
    ];
    differences.extend(words.iter().filter(|(_, same)| !same).map(|(word, _)| (*word).to_owned()));
    differences
}

/// The plugins beside the first one, with their settings.
fn seats(config: &TenantConfig) -> Vec<(&Path, Vec<(&str, &str)>)> {
    let all = config.seats.iter();
    all.map(|seat| (&*seat.plugin, seat.settings.iter().map(|it| (&*it.key, &*it.value)).collect())).collect()
}

fn settings(former: &TenantConfig, new: &TenantConfig) -> Vec<String> {
    let value = |config: &TenantConfig, key: &str| {
        let found = config.settings.iter().find(|setting| setting.key == key);
        found.map_or_else(|| "its default".to_owned(), |setting| setting.value.clone())
    };
    let mut keys: Vec<&str> = former.settings.iter().chain(&new.settings).map(|setting| &*setting.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let changed = keys.into_iter().map(|key| (key, value(former, key), value(new, key)));
    let changed = changed.filter(|(_, before, after)| before != after);
    changed.map(|(key, before, after)| format!("{key} from {before} to {after}")).collect()
}
