//! C, by wasmtime's C API.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{root, succeeded};

/// The library is the one that wasmtime-py is made of; the crate with its headers is of the same version.
const HEADERS: &str = "wasmtime-c-api-impl";

/// What the library was built with, which its headers do not say before somebody has configured them.
const FEATURES: &str = "#define WASMTIME_FEATURE_COMPONENT_MODEL\n#define WASMTIME_FEATURE_COMPILER\n";

/// Where the library lies, and its version.
fn library() -> Result<(PathBuf, String)> {
    let question =
        "import wasmtime, importlib.metadata; print(wasmtime.__path__[0], importlib.metadata.version('wasmtime'))";
    let printed = succeeded(Command::new(root().join(".venv/bin/python")).args(["-c", question]))?;
    let (package, version) = printed.trim_end().rsplit_once(' ').context("a folder and a version")?;
    let folder = Path::new(package).join(format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH));
    ensure!(folder.join("_libwasmtime.so").exists(), "no library in {}: run `make setup`", folder.display());
    Ok((folder, version.to_owned()))
}

/// The headers of this version, where cargo has put them.
fn headers(version: &str) -> Result<PathBuf> {
    let mut metadata = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    metadata.args(["metadata", "--offline", "--locked", "--format-version=1", "--manifest-path"]);
    metadata.arg(root().join("tests/c/wasmtime-headers/Cargo.toml"));
    let metadata: Value = serde_json::from_str(&succeeded(&mut metadata).context("run `make setup`")?)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let found = packages.iter().find(|package| package["name"] == HEADERS).context("the crate with the headers")?;
    ensure!(found["version"] == version, "headers of {}, a library of {version}", found["version"]);
    let manifest = found["manifest_path"].as_str().context("a path")?;
    Ok(Path::new(manifest).with_file_name("include"))
}

/// Compiles the program that plays scripts.
fn program(folder: &Path) -> Result<PathBuf> {
    let (library, version) = library()?;
    std::fs::create_dir_all(folder.join("include/wasmtime"))?;
    std::fs::write(folder.join("include/wasmtime/conf.h"), FEATURES)?;
    let program = folder.join("component");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o"]).arg(&program);
    compiler.arg("-isystem").arg(folder.join("include")).arg("-isystem").arg(headers(&version)?);
    compiler.arg(root().join("tests/c/component.c")).arg(library.join("_libwasmtime.so")).arg("-ljansson");
    succeeded(&mut compiler)?;
    Ok(program)
}

/// Plays scripts.
pub fn player(folder: &Path, file: &Path) -> Result<Command> {
    let mut command = Command::new(program(folder)?);
    command.arg(file);
    Ok(command)
}
