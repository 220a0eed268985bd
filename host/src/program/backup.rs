//! `postbell backup` and `postbell restore`: a journal as a file, and a data directory made of it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tempfile::NamedTempFile;

use super::Failure;
use super::data::NewDataDirectory;
use super::history::Origin;
use super::journal::seat_line;
use super::output::{self, Output};
use crate::admin::journal::Listing;
use crate::journal::archive::{self, ArchiveError, Reader, Survey};

/// Exit codes besides those of failures.
const DONE: u8 = 0;
const INCOMPLETE: u8 = 1;

/// Write what is kept of all tenants to a file, while the server serves
///
/// The file is verified while it is written, and appears only when it is whole. If something of the journal is damaged,
/// the rest is written to FILE.damaged, which `journal list` and `replay` read, and the exit code is 1. The file holds
/// what mails, requests and settings contain.
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// Where to; it must not exist
    file: PathBuf,
    #[command(flatten)]
    origin: Origin,
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
}

/// Make a data directory of what `postbell backup` wrote
///
/// What is restored is older than what clients have been told; when a server next serves it, it tells them so. Give it
/// a directory of its own, stop the server, and start it with the new directory.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The file
    file: PathBuf,
    /// Where to: a directory that does not exist, or is empty. Nothing can be restored into a running server
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Writes the file. Blocks. Gives the exit code.
///
/// # Errors
///
/// It cannot be written whole; there is no file then.
pub fn backup(args: &BackupArgs) -> Result<u8, Failure> {
    let BackupArgs { file, origin, tenant } = args;
    if file.exists() {
        return Err(Failure::Usage(format!("{}: it exists already", file.display())));
    }
    let history = origin.open()?;
    let part = part_of(file).with_context(|| file.display().to_string())?;
    let survey = copy(history.copy(tenant.as_deref())?, part.as_file()).with_context(|| history.name.clone())?;
    if let (Some(tenant), true) = (tenant, survey.seats.is_empty()) {
        return Err(history.without(tenant));
    }
    let mut out = Output::standard();
    survey.listing().seats.iter().try_for_each(|seat| out.line(seat_line(seat)))?;
    out.end()?;
    keep(part, file, &survey)
}

/// A new file beside `file`, which vanishes unless it is given its name.
fn part_of(file: &Path) -> io::Result<NamedTempFile> {
    let name = file.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(name).suffix(".part").tempfile_in(folder)
}

/// Writes an archive, and says what is in it.
fn copy(bytes: impl Read, file: &File) -> anyhow::Result<Survey> {
    let (mut out, mut survey) = (BufWriter::new(file), Survey::default());
    let progress = output::bytes(None);
    for item in Reader::new(progress.wrap_read(Tee { bytes, out: &mut out }))? {
        survey.note(&item?);
    }
    progress.finish_and_clear();
    out.flush().and_then(|()| file.sync_all()).context("the file")?;
    Ok(survey)
}

/// What is read through it is written too.
struct Tee<R, W> {
    bytes: R,
    out: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(into)?;
        self.out.write_all(&into[..read])?;
        Ok(read)
    }
}

/// Gives the file its name, or that of a damaged one.
fn keep(part: NamedTempFile, file: &Path, survey: &Survey) -> Result<u8, Failure> {
    let folder = part.path().parent().map(Path::to_owned);
    let code = if survey.damages.is_empty() {
        part.persist_noclobber(file).map_err(|error| error.error).with_context(|| file.display().to_string())?;
        DONE
    } else {
        let mut damaged = file.as_os_str().to_owned();
        damaged.push(".damaged");
        let damaged = PathBuf::from(damaged);
        part.persist(&damaged).map_err(|error| error.error).with_context(|| damaged.display().to_string())?;
        for damage in &survey.damages {
            eprintln!("postbell: damaged: {damage}");
        }
        eprintln!("postbell: the rest is in {}", damaged.display());
        INCOMPLETE
    };
    if let Some(folder) = folder {
        File::open(&folder).and_then(|folder| folder.sync_all()).with_context(|| folder.display().to_string())?;
    }
    Ok(code)
}

/// Makes the data directory. Blocks. Gives the exit code.
///
/// # Errors
///
/// The file is no archive, or not whole, or there is something in the directory; the directory is as it was then.
pub fn restore(args: &RestoreArgs) -> Result<u8, Failure> {
    let RestoreArgs { file, data } = args;
    let failed = |source: ArchiveError| Failure::History { origin: file.display().to_string(), source };
    let input = File::open(file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let progress = output::bytes(input.metadata().ok().map(|facts| facts.len()));
    let mut reader = Reader::new(progress.wrap_read(BufReader::new(input))).map_err(failed)?;
    let directory = NewDataDirectory::create(data)?;
    let listing = {
        let journal = directory.open_journal()?;
        archive::restore(&mut reader, &journal).map_err(failed)?;
        journal.mark_regressed().map_err(|error| failed(error.into()))?;
        let listing = Listing::of(&journal).map_err(|error| failed(error.into()))?;
        journal.finish().context("the journal's last sync")?;
        listing
    };
    directory.complete()?;
    progress.finish_and_clear();
    let mut out = Output::standard();
    listing.seats.iter().try_for_each(|seat| out.line(seat_line(seat)))?;
    out.end()?;
    Ok(DONE)
}
