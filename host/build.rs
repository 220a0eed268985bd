//! Compiles the guest crate into the component that the feature `bundled-plugin` embeds.
//!
//! The guest is built by a cargo of its own, in a target folder of its own, with every trace of the outer build's
//! compiler settings removed: the same sources give the same component whether the outer build is a debug build, a
//! release build or clippy. Cargo runs this script again only when the guest, the contract or the workspace's
//! manifests changed.

#[path = "build/guest.rs"]
mod guest;

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/guest.rs");
    if env::var_os("CARGO_FEATURE_BUNDLED_PLUGIN").is_none() {
        return;
    }
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let workspace = package.parent().expect("host/ lies in the workspace");
    for source in ["guest/src", "guest/Cargo.toml", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let component = guest::component(workspace, &guest::target_folder(&out), "postbell-notify");
    std::fs::write(out.join("postbell-notify.wasm"), component).expect("cargo's OUT_DIR is writable");
}
