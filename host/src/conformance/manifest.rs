//! What a manifest must be for a host to use it.

use std::collections::BTreeSet;

use crate::contract::lifecycle::{Manifest, Route};

/// How many routes, state formats, and methods, headers and schemes of a route there may be, each.
const MOST: usize = 256;

/// Which rule of `lifecycle.manifest` it breaks; none: it keeps all.
pub(super) fn unusable(manifest: &Manifest) -> Option<String> {
    let Manifest { name, version, routes, state_formats } = manifest;
    if !is_name(name) {
        return Some(format!("the name {:?} is not of small letters and digits, joined by `-`", shortened(name)));
    }
    if !is_short(version) {
        return Some(format!(
            "the version {:?} is empty, longer than 128 bytes, or not of visible characters",
            shortened(version)
        ));
    }
    if !(1..=MOST).contains(&state_formats.len()) || !state_formats.iter().all(|format| is_short(format)) {
        return Some(format!("{} state formats, or one that is not short and visible", state_formats.len()));
    }
    if routes.len() > MOST {
        return Some(format!("{} routes", routes.len()));
    }
    if let Some(broken) = routes.iter().find_map(broken) {
        return Some(broken);
    }
    let prefixes: BTreeSet<_> = routes.iter().map(|route| route.prefix.trim_end_matches('/').to_lowercase()).collect();
    (prefixes.len() < routes.len()).then(|| "two routes have the same prefix".to_owned())
}

fn broken(route: &Route) -> Option<String> {
    let Route { prefix, methods, headers, schemes, .. } = route;
    let says = |what: &str| Some(format!("the route {:?} {what}", shortened(prefix)));
    if !prefix.starts_with('/') || !is_short(prefix) {
        return says("does not begin with `/`, or is not short and visible");
    }
    if methods.is_empty() || !methods.iter().all(|method| is_word(method, |byte| byte.is_ascii_uppercase())) {
        return says("has no methods, or one that is not in capitals");
    }
    let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if !headers.iter().chain(schemes).all(|word| is_word(word, small)) {
        return says("has a header or a scheme that is not in small letters");
    }
    if headers.iter().any(|header| header == "authorization") {
        return says("asks for `authorization`, which a plugin never gets");
    }
    [methods, headers, schemes]
        .iter()
        .any(|list| list.len() > MOST)
        .then(|| format!("the route {prefix:?} has too long a list"))
}

/// Lower-case words joined by `-`.
fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 64 && name.split('-').all(|word| is_word(word, good))
}

fn is_word(word: &str, good: impl Fn(u8) -> bool) -> bool {
    is_short(word) && word.bytes().all(good)
}

fn is_short(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
