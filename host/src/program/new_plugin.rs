//! `postbell plugin new`: a plugin to begin with, which works.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Failure;

/// What the crate is called that the files are of.
const ORIGINAL: &str = "jmap-push";

/// Where the contract is for that crate, and where it is for one of its own.
const CONTRACT: (&str, &str) = ("../../wit", "wit");

/// The longest name that a plugin may have.
const MOST_NAME: usize = 64;

macro_rules! files {
    ($($path:literal from $source:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../", $source)))),*]
    };
}

/// The files, each with where it goes.
const FILES: &[(&str, &str)] = files![
    "Cargo.toml" from "plugins/jmap-push/Cargo.toml",
    "README.md" from "plugins/jmap-push/README.md",
    "requests.jsonl" from "plugins/jmap-push/requests.jsonl",
    "src/event.rs" from "plugins/jmap-push/src/event.rs",
    "src/lib.rs" from "plugins/jmap-push/src/lib.rs",
    "src/push.rs" from "plugins/jmap-push/src/push.rs",
    "src/query.rs" from "plugins/jmap-push/src/query.rs",
    "src/settings.rs" from "plugins/jmap-push/src/settings.rs",
    "src/states.rs" from "plugins/jmap-push/src/states.rs",
    "src/streams.rs" from "plugins/jmap-push/src/streams.rs",
    "tests/event_source.rs" from "plugins/jmap-push/tests/event_source.rs",
    "wit/README.md" from "wit/README.md",
    "wit/notify.wit" from "wit/notify.wit",
];

/// Write a plugin to begin with: a Rust crate that serves JMAP push by EventSource, with its tests
#[derive(Args, Debug)]
pub struct NewArgs {
    /// The plugin's name: small letters and digits, joined by `-`
    #[arg(value_parser = name)]
    name: String,
    /// The folder to write to, which must not be there [default: NAME]
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
}

/// Writes the files.
///
/// # Errors
///
/// The folder is there already, or cannot be written to.
pub fn run(args: &NewArgs) -> Result<(), Failure> {
    let NewArgs { name, path } = args;
    let folder = path.clone().unwrap_or_else(|| PathBuf::from(name));
    if folder.exists() {
        return Err(Failure::Usage(format!("{} is there already", folder.display())));
    }
    for (path, text) in FILES {
        write(&folder.join(path), &adapted(path, text, name)).with_context(|| folder.display().to_string())?;
    }
    write(&folder.join(".gitignore"), "/target\n/*.wasm\n").with_context(|| folder.display().to_string())?;
    println!("{}: a plugin that serves JMAP push; README.md says how to build and to check it", folder.display());
    Ok(())
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().expect("every file is in the folder"))?;
    std::fs::write(file, text)
}

/// The file under the new name, in a workspace of its own.
fn adapted(path: &str, text: &str, name: &str) -> String {
    if path.starts_with("wit/") {
        return text.to_owned();
    }
    let text = text.replace(ORIGINAL, name).replace(&ORIGINAL.replace('-', "_"), &name.replace('-', "_"));
    let text = text.replace(CONTRACT.0, CONTRACT.1);
    if path == "Cargo.toml" { format!("{text}\n{OWN_WORKSPACE}") } else { text }
}

/// So that a workspace above does not claim the crate; and what makes the component small.
const OWN_WORKSPACE: &str = "[workspace]\n\n[profile.release]\nlto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"\n";

fn name(text: &str) -> Result<String, String> {
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
    if begins && text.len() <= MOST_NAME && text.split('-').all(word) {
        Ok(text.to_owned())
    } else {
        Err("small letters and digits, joined by `-`, such as `my-protocol`".to_owned())
    }
}
