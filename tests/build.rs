//! Compiles the guests of the tests into components, and lists the programs of the hostile one: each must have a test.

#[path = "../host/build/guest.rs"]
mod guest;

use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Packages below `tests/guests` and `plugins`; each becomes PACKAGE.wasm.
const GUESTS: &[&str] = &["jmap-push", "postbell-hostile-guest", "postbell-swap-guest"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let workspace = package.parent().expect("tests/ lies in the workspace");
    for source in ["host/build/guest.rs", "plugins", "tests/guests", "wit", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for package in GUESTS {
        let component = guest::component(workspace, &guest::target_folder(&out), package);
        std::fs::write(out.join(format!("{package}.wasm")), component).expect("cargo's OUT_DIR is writable");
    }
    // As an author's compiler writes it, to be made a component of.
    let module = guest::module(workspace, &guest::target_folder(&out), GUESTS[0]);
    std::fs::write(out.join("module.wasm"), module).expect("cargo's OUT_DIR is writable");
    let list = programs(&workspace.join("tests/guests/hostile/src/programs"));
    std::fs::write(out.join("hostile_programs.rs"), list).expect("cargo's OUT_DIR is writable");
}

/// A macro that calls another one with the name of each program.
fn programs(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    let mut list = String::from("macro_rules! for_each_hostile_program { ($then:ident) => {\n");
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name of a module");
        writeln!(list, "    $then!({name});").expect("a string takes everything");
    }
    list + "} }\n"
}
