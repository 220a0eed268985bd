//! The `postbell` program: its command line, its exit codes, and how it reports what went wrong.

pub mod admission;
pub mod backup;
pub mod check;
pub mod client;
pub mod cluster;
pub mod config;
pub mod counted;
pub mod data;
pub mod demo;
pub mod demo_config;
pub mod feed;
pub mod history;
pub mod inspect;
pub mod journal;
pub mod logging;
pub mod manual;
pub mod new_plugin;
pub mod nodes;
pub mod opening;
pub mod output;
pub mod pack;
pub mod plugins;
pub mod replay;
pub mod serve;
pub mod service;
pub mod shown;
pub mod signatures;
pub mod source;
pub mod swap;
pub mod tenant;
pub mod tenants;
pub mod toml_file;
pub mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::journal::JetStreamError;
use crate::journal::archive::ArchiveError;
use crate::plugin::{self, PluginError};
use signatures::SignatureError;

/// Why the program ends early. The case decides the exit code, the text is the one line on stderr.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something failed while running (exit code 1).
    #[error("{0:#}")]
    Running(#[from] anyhow::Error),
    /// A file of the operator's is wrong (exit code 2).
    #[error(transparent)]
    Configuration(#[from] toml_file::Mistake),
    /// The command line asks for what cannot be done (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// A plugin is not one, or does not load (exit code 3).
    #[error("{origin}: {source}")]
    Plugin {
        /// The file, or "the built-in plugin".
        origin: String,
        /// The step, import or export that is wrong.
        source: PluginError,
    },
    /// A plugin has no signature that is trusted (exit code 3).
    #[error("{}: {source}", file.display())]
    Signature {
        /// The plugin.
        file: PathBuf,
        /// What is wrong.
        source: SignatureError,
    },
    /// The data directory cannot be used (exit code 4).
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// The NATS servers cannot be used (exit code 4).
    #[error(transparent)]
    Cluster(#[from] JetStreamError),
    /// A journal, or an archive of one, is damaged or of another version (exit code 4), or the way to it is broken (exit
    /// code 1).
    #[error("{origin}: {source}")]
    History {
        /// The data directory, the file, or the server.
        origin: String,
        /// What is wrong.
        source: ArchiveError,
    },
    /// Nobody reads the output any more (exit code 1, without a word).
    #[error("nobody reads the output")]
    Unread,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Running(_) | Failure::History { source: ArchiveError::Io(_), .. } | Failure::Unread => 1,
            Failure::Configuration(_) | Failure::Usage(_) => 2,
            Failure::Plugin { .. } | Failure::Signature { .. } => 3,
            Failure::Data(_) | Failure::Cluster(_) | Failure::History { .. } => 4,
        }
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, or stopped by SIGTERM or SIGINT; 1 failure while running; 2 usage or configuration; \
3 plugin refused; 4 data directory, journal, NATS or archive locked, of another version, refusing or damaged; 5 `feed` with rejections.";

/// Notifies mail clients of changes, with the logic in a sandboxed WebAssembly component.
#[derive(Parser, Debug)]
#[command(name = "postbell", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 120)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve mail clients and take changes, until SIGTERM or SIGINT.
    #[command(after_help = EXIT_CODES)]
    Serve(serve::ServeArgs),
    /// Send a file of changes to a running server, going on after the last acknowledged one.
    #[command(after_help = EXIT_CODES)]
    Feed(feed::FeedArgs),
    /// Stand beside a mail server and send what happens there, until SIGTERM or SIGINT.
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Look at what is kept of tenants.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    #[command(after_help = EXIT_CODES)]
    Replay(replay::ReplayArgs),
    #[command(after_help = EXIT_CODES)]
    Backup(backup::BackupArgs),
    #[command(after_help = EXIT_CODES)]
    Restore(backup::RestoreArgs),
    #[command(after_help = EXIT_CODES)]
    Swap(swap::SwapArgs),
    #[command(after_help = EXIT_CODES)]
    Rollback(swap::RollbackArgs),
    /// Look at the tenants of a running server, make them and remove them.
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Look at the nodes that serve the same tenants, and empty one.
    #[command(subcommand)]
    Cluster(nodes::ClusterCommand),
    /// Look at plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Manage a users file. A server reads the file when it starts.
    #[command(subcommand)]
    User(users::UserCommand),
    #[command(after_help = EXIT_CODES)]
    Man(manual::ManArgs),
    #[command(after_help = EXIT_CODES)]
    Completions(manual::CompletionsArgs),
    /// What `serve` starts to compile a plugin under limits.
    #[command(hide = true)]
    CompileComponent(CompileArgs),
}

#[derive(Subcommand, Debug)]
enum PluginCommand {
    /// Say which tenant of a running server runs what, since when, and what before
    List(plugins::ListArgs),
    /// Say what a plugin is: name, version, routes, state formats, imports, sizes, compile time.
    Inspect {
        /// The component.
        file: PathBuf,
    },
    #[command(after_help = EXIT_CODES)]
    Check(check::CheckArgs),
    #[command(after_help = EXIT_CODES)]
    New(new_plugin::NewArgs),
    #[command(after_help = EXIT_CODES)]
    Pack(pack::PackArgs),
    /// Write the built-in plugin to a file.
    Extract {
        /// Where to; overwritten where it exists.
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
struct CompileArgs {
    input: PathBuf,
    output: PathBuf,
    memory_bytes: u64,
    cpu_seconds: u64,
}

/// The whole program: reads the command line, does what it says, and reports a failure in one line on stderr.
pub fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(failure @ Failure::Unread) => ExitCode::from(failure.exit_code()),
        Err(failure) => {
            eprintln!("postbell: {}", failure.to_string().replace('\n', " "));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Serve(args) => serve::run(args).map(|()| 0),
        Command::Feed(args) => feed::run(&args),
        Command::Source(command) => source::run(command).map(|()| 0),
        Command::Journal(command) => journal::run(command),
        Command::Replay(args) => replay::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Swap(args) => swap::swap(&args),
        Command::Rollback(args) => swap::rollback(&args),
        Command::Tenant(command) => tenant::run(&command).map(|()| 0),
        Command::Cluster(command) => nodes::run(&command).map(|()| 0),
        Command::Plugin(PluginCommand::List(args)) => plugins::list(&args).map(|()| 0),
        Command::Plugin(PluginCommand::Inspect { file }) => inspect::inspect(&file).map(|()| 0),
        Command::Plugin(PluginCommand::New(args)) => new_plugin::run(&args).map(|()| 0),
        Command::Plugin(PluginCommand::Pack(args)) => pack::run(&args).map(|()| 0),
        Command::Plugin(PluginCommand::Check(args)) => check::run(&args),
        Command::Plugin(PluginCommand::Extract { file }) => inspect::extract(&file).map(|()| 0),
        Command::User(command) => users::run(command).map(|()| 0),
        Command::Man(args) => manual::man(CommandLine::command(), &args).map(|()| 0),
        Command::Completions(args) => manual::completions(CommandLine::command(), &args).map(|()| 0),
        Command::CompileComponent(args) => Ok(compile_component(&args)),
    }
}

/// The parent reads the last line of stderr and says itself that compiling failed.
fn compile_component(args: &CompileArgs) -> u8 {
    match plugin::compile_child(&args.input, &args.output, args.memory_bytes, args.cpu_seconds) {
        Ok(()) => 0,
        Err(PluginError::Compile(reason)) => {
            eprintln!("{}", reason.replace('\n', " "));
            3
        }
        Err(error) => {
            eprintln!("{error}");
            3
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_version() {
        let commands = [
            "serve",
            "feed",
            "cluster drain",
            "cluster status",
            "source cyrus",
            "source dovecot",
            "source webhook",
            "journal check",
            "journal list",
            "replay",
            "backup",
            "restore",
            "swap",
            "rollback",
            "tenant list",
            "tenant put",
            "tenant delete",
            "plugin list",
            "plugin inspect",
            "plugin check",
            "plugin new",
            "plugin pack",
            "plugin extract",
            "user add",
            "man",
            "completions",
        ];
        for path in commands {
            for flag in ["--help", "--version"] {
                let arguments = ["postbell"].into_iter().chain(path.split(' ')).chain([flag]);
                let stopped = CommandLine::try_parse_from(arguments).expect_err("help and version stop the parser");
                assert_eq!(stopped.exit_code(), 0, "{path:?} {flag}");
            }
        }
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for arguments in [&["postbell"][..], &["postbell", "serve"], &["postbell", "serve", "--demo", "--config", "f"]]
        {
            let error = CommandLine::try_parse_from(arguments).expect_err("a usage error");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
