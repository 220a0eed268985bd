//! Lists the programs: each file in `src/programs/` is one.

use std::env;
use std::fmt::Write;
use std::path::PathBuf;

fn main() {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src/programs");
    println!("cargo::rerun-if-changed={}", folder.display());
    let files = std::fs::read_dir(&folder).expect("the folder is there");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    let (mut modules, mut table) = (String::new(), String::new());
    for file in &files {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name of a module");
        writeln!(modules, "#[path = {file:?}]\nmod {name};").expect("a string takes everything");
        writeln!(table, "    ({name:?}, &{name}::Program),").expect("a string takes everything");
    }
    let list = format!("{modules}\nconst PROGRAMS: &[(&str, &dyn crate::plugin::Plugin)] = &[\n{table}];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("programs.rs"), list).expect("cargo's OUT_DIR is writable");
}
