//! `postbell man` and `postbell completions`: what a package installs beside the program, made from its command line.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use super::Failure;

/// Write manual pages, one for each command, in section 1.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The folder that they go to; it must exist, and files of the same names are overwritten.
    folder: PathBuf,
}

/// Write a script that completes this program's commands and options in a shell.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell; the script goes to stdout.
    shell: Shell,
}

/// Writes a page for `command` and for each command in it, `postbell-user-add.1` and the like.
///
/// # Errors
///
/// The folder cannot be written to.
pub fn man(command: Command, args: &ManArgs) -> Result<(), Failure> {
    clap_mangen::generate_to(command, &args.folder).with_context(|| args.folder.display().to_string())?;
    Ok(())
}

/// Writes the script.
///
/// # Errors
///
/// Nobody reads it.
pub fn completions(mut command: Command, args: &CompletionsArgs) -> Result<(), Failure> {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    std::io::stdout().lock().write_all(&script).map_err(|_| Failure::Unread)
}
