//! Compiles the plugin, as the component's own module is compiled.

use std::env;
use std::path::{Path, PathBuf};

#[path = "../../../host/build/guest.rs"]
#[expect(dead_code, reason = "Extism loads modules, not components")]
mod guest;

fn main() {
    let rivals = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in its workspace");
    for source in
        ["extism-plugin", "Cargo.toml", "Cargo.lock", "../contest", "../../guest/src", "../../host/build/guest.rs"]
    {
        println!("cargo::rerun-if-changed={}", rivals.join(source).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let module = guest::module(rivals, &guest::target_folder(&out), "rival-extism-plugin");
    std::fs::write(out.join("plugin.wasm"), module).expect("cargo's OUT_DIR is writable");
}
