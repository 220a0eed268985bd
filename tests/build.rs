//! Compiles the guests of the tests into components.

#[path = "../host/build/guest.rs"]
mod guest;

use std::env;
use std::path::{Path, PathBuf};

/// Packages below `tests/guests` and `plugins`; each becomes PACKAGE.wasm.
const GUESTS: &[&str] = &["jmap-push", "postbell-hostile-guest", "postbell-swap-guest"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
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
}
