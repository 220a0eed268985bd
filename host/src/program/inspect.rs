//! `postbell plugin`: what a component is, and the one that is built in.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Failure;
use super::config::Limits;
use crate::contract::lifecycle::{Manifest, Route};
use crate::plugin::{Compiler, Facts, Plugin, imports};
use crate::{Host, HostOptions};

/// Prints what a component is.
///
/// # Errors
///
/// The file cannot be read, or the component is refused.
pub fn inspect(file: &Path) -> Result<(), Failure> {
    let refused = |source| Failure::Plugin { origin: file.display().to_string(), source };
    let component = std::fs::read(file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let imports = imports(&component).map_err(refused)?;
    let options =
        HostOptions { compiler: compiler(&Limits::default())?, cache: cache(), pool: false, ..HostOptions::default() };
    let host = Host::new(options).context("the engine")?;
    let plugin = host.load(&component).map_err(refused)?;
    let text = describe(&plugin, &imports);
    Ok(std::io::stdout().write_all(text.as_bytes()).context("standard output")?)
}

/// Writes the component that is built in.
///
/// # Errors
///
/// None is built in, or the file cannot be written.
pub fn extract(file: &Path) -> Result<(), Failure> {
    let (_, component) = built_in()?;
    Ok(std::fs::write(file, component).with_context(|| file.display().to_string())?)
}

/// The component that is built in, with what messages call it.
///
/// # Errors
///
/// None is built in.
pub fn built_in() -> Result<(String, Vec<u8>), Failure> {
    #[cfg(feature = "bundled-plugin")]
    return Ok(("the built-in plugin".to_owned(), crate::plugin::bundled().to_vec()));
    #[cfg(not(feature = "bundled-plugin"))]
    Err(Failure::Usage("no plugin is built into this program".to_owned()))
}

/// The folder for compiled plugins that the environment variable POSTBELL_CACHE names. Processes of one user may share it.
pub fn cache() -> Option<PathBuf> {
    std::env::var_os("POSTBELL_CACHE").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// This program, in a child process under limits.
///
/// # Errors
///
/// The operating system does not say what this program is.
pub fn compiler(limits: &Limits) -> Result<Compiler, Failure> {
    let program = std::env::current_exe().context("the path of this program")?;
    Ok(Compiler::Child {
        program,
        memory_bytes: limits.compiler_memory_bytes,
        cpu_seconds: limits.compiler_cpu_seconds,
    })
}

fn describe(plugin: &Plugin, imports: &[String]) -> String {
    let (Manifest { name, version, routes, state_formats, .. }, facts) = (plugin.manifest(), plugin.facts());
    let mut text = String::new();
    let mut line = |word: &str, value: &str| {
        writeln!(text, "{word:<14} {value}").expect("a string takes everything");
    };
    line("name", name);
    line("version", version);
    line("sha256", &plugin.sha256().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    line("imports", &list(imports));
    line("state formats", &list(state_formats));
    for route in routes {
        line("route", &route_line(route));
    }
    let Facts { component_bytes, compiled_bytes, compile_time, initial_memory, .. } = facts;
    line("component", &format!("{component_bytes} bytes"));
    line("compiled", &format!("{compiled_bytes} bytes"));
    line("compile time", &format!("{} ms", compile_time.as_millis()));
    line("memory", &format!("{initial_memory} bytes at first"));
    text
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn route_line(route: &Route) -> String {
    let login = if route.schemes.is_empty() { "in the body".to_owned() } else { route.schemes.join(", ") };
    format!("{} {} (login: {login}; parks at most {} s)", route.methods.join(","), route.prefix, route.park_ms / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_said_in_a_line() {
        let route = Route {
            prefix: "/a".to_owned(),
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            headers: Vec::new(),
            schemes: vec!["basic".to_owned()],
            park_ms: 90_000,
        };
        assert_eq!(route_line(&route), "GET,POST /a (login: basic; parks at most 90 s)");
        assert_eq!(list(&[]), "none");
    }
}
