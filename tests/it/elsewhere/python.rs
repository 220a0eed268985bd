//! wasmtime-py.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{block, root, succeeded, with_component};

fn python() -> Result<Command> {
    let python = root().join(".venv/bin/python");
    ensure!(python.exists(), "{} is not there: run `make setup`", python.display());
    let mut command = Command::new(python);
    command.env("PYTHONPATH", root().join("host/python"));
    Ok(command)
}

/// Plays scripts.
pub fn player(file: &Path) -> Result<Command> {
    let mut command = python()?;
    command.arg(root().join("tests/python/component.py")).arg(file);
    Ok(command)
}

#[test]
fn the_block_of_the_readme_runs() -> Result<()> {
    let file = block("python", "embed.py")?;
    let (folder, _) = with_component()?;
    let printed = succeeded(python()?.arg(file).current_dir(folder.path()))?;
    ensure!(printed.starts_with("HTTP "), "{printed}");
    Ok(())
}
