//! What the tools print: lines on standard output, progress on standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;

/// Standard output.
pub struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    /// Takes it; nobody else in this process prints until it is dropped.
    pub fn standard() -> Output {
        Output(BufWriter::new(io::stdout().lock()))
    }

    /// Prints a line.
    ///
    /// # Errors
    ///
    /// It cannot be written; [`Failure::Unread`] if that is because nobody reads it.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        written(writeln!(self.0, "{line}"))
    }

    /// Hands over what was printed so far.
    ///
    /// # Errors
    ///
    /// As for [`Output::line`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        written(self.0.flush())
    }

    /// Hands over what was printed.
    ///
    /// # Errors
    ///
    /// As for [`Output::line`].
    pub fn end(mut self) -> Result<(), Failure> {
        written(self.0.flush())
    }
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unread),
        other => Ok(other.context("standard output")?),
    }
}

/// A bar on standard error for bytes; none: how many there will be is not known. Hidden where that is no terminal.
pub fn bytes(total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => bar(Some(total), "{bar:40} {bytes}/{total_bytes}, {eta} left"),
        None => bar(None, "{spinner} {bytes}, {bytes_per_sec}"),
    }
}

/// A count on standard error of what was read. Hidden where that is no terminal.
pub fn items() -> ProgressBar {
    bar(None, "{spinner} {human_pos} inputs and snapshots, {per_sec}")
}

/// What is being done, on standard error, for whom. Hidden where that is no terminal.
pub fn steps() -> ProgressBar {
    bar(None, "{spinner} {prefix}: {msg}")
}

/// A bar on standard error for so many inputs. Hidden where that is no terminal, or where the output is one and shows
/// itself how far it is.
pub fn inputs(total: u64) -> ProgressBar {
    if io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    bar(Some(total), "{bar:40} {human_pos}/{human_len} inputs, {eta} left")
}

fn bar(total: Option<u64>, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style)
}
