//! Where the tools take history from: a running server, the data directory of a stopped one, or an archive.

mod server;

use std::fs::File;
use std::io::{self, BufReader, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use clap::Args;
use tempfile::TempDir;

use self::server::Server;
use super::data::DataDirectory;
use super::{Failure, output};
use crate::admin::journal::Listing;
use crate::journal::archive::{self, ArchiveError, Counts, Reader, Survey};
use crate::journal::{DatabaseJournal, DatabaseOptions, Journal, Seat, SyncMode};

/// A journal that is made to be read once is never worth a sync, in milliseconds.
const SELDOM: u64 = u64::MAX;

/// Where to take history from.
#[derive(Args, Debug)]
pub struct Origin {
    #[command(flatten)]
    place: Place,
    /// Admin key of the server, or of the tenant that is asked for [default: the environment variable POSTBELL_KEY]
    #[arg(long, requires = "url")]
    key: Option<String>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Place {
    /// Admin listener of a running server, such as http://127.0.0.1:8081
    #[arg(long)]
    url: Option<String>,
    /// Data directory of a stopped server
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File that `postbell backup` wrote
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
}

/// A journal that can be looked at.
pub struct History {
    /// What messages call it.
    pub name: String,
    source: Source,
}

enum Source {
    Server(Server),
    /// The directory is locked for as long.
    Directory {
        journal: Arc<DatabaseJournal>,
        _data: DataDirectory,
    },
    Archive(PathBuf),
}

/// A journal to read from, and what must be kept for as long.
pub struct Opened {
    /// What there is of one tenant, at least.
    pub journal: Arc<dyn Journal>,
    _folder: Option<TempDir>,
}

impl Origin {
    /// Opens what the command line names.
    ///
    /// # Errors
    ///
    /// A key is missing, or the data directory cannot be used.
    pub fn open(&self) -> Result<History, Failure> {
        let Place { url, data, archive } = &self.place;
        let (name, source) = match (url, data, archive) {
            (Some(url), ..) => (url.clone(), Source::Server(Server::new(url, self.key.as_deref())?)),
            (_, Some(data), _) => (data.display().to_string(), directory(data)?),
            (_, _, Some(archive)) => (archive.display().to_string(), Source::Archive(archive.clone())),
            (None, None, None) => unreachable!("the command line names one of them"),
        };
        Ok(History { name, source })
    }
}

fn directory(folder: &Path) -> Result<Source, Failure> {
    let data = DataDirectory::existing(folder)?;
    let journal = data.open_journal(SyncMode::Always)?;
    Ok(Source::Directory { journal: Arc::new(journal), _data: data })
}

impl History {
    /// Every seat, and what there is of it.
    ///
    /// # Errors
    ///
    /// It cannot be had.
    pub fn listing(&self) -> Result<Listing, Failure> {
        match &self.source {
            Source::Server(server) => Ok(server.listing()?),
            Source::Directory { journal, .. } => Listing::of(&**journal).map_err(|error| self.failed(error)),
            Source::Archive(_) => Ok(self.survey()?.listing()),
        }
    }

    /// The history of a tenant, or of all, item by item.
    ///
    /// # Errors
    ///
    /// It cannot be had.
    pub fn archive(&self, tenant: Option<&str>) -> Result<Reader<impl Read + use<>>, Failure> {
        let reader = Reader::new(self.bytes(tenant)?).map_err(|error| self.failed(error))?;
        Ok(reader.only(tenant))
    }

    /// An archive of a tenant, or of all; what is an archive already comes as it is.
    fn bytes(&self, tenant: Option<&str>) -> Result<Box<dyn Read>, Failure> {
        Ok(match &self.source {
            Source::Server(server) => Box::new(server.archive(tenant)?),
            Source::Directory { journal, .. } => {
                self.written(Opened { journal: journal.clone(), _folder: None }, tenant)?
            }
            Source::Archive(file) => Box::new(BufReader::new(File::open(file).map_err(|error| self.failed(error))?)),
        })
    }

    /// An archive of a tenant, or of all, and of nothing else.
    ///
    /// # Errors
    ///
    /// It cannot be had.
    pub fn copy(&self, tenant: Option<&str>) -> Result<Box<dyn Read>, Failure> {
        match (&self.source, tenant) {
            (Source::Archive(_), Some(of)) => self.written(self.journal(of)?, tenant),
            _ => self.bytes(tenant),
        }
    }

    fn written(&self, opened: Opened, tenant: Option<&str>) -> Result<Box<dyn Read>, Failure> {
        let mut seats = opened.journal.seats().map_err(|error| self.failed(error))?;
        seats.retain(|seat| tenant.is_none_or(|tenant| *seat.tenant == *tenant));
        Ok(Box::new(BufReader::new(Written::start(opened, seats).context("a pipe")?)))
    }

    /// The history of a tenant, to be read from anywhere.
    ///
    /// # Errors
    ///
    /// It cannot be had whole.
    pub fn journal(&self, tenant: &str) -> Result<Opened, Failure> {
        if let Source::Directory { journal, .. } = &self.source {
            return Ok(Opened { journal: journal.clone(), _folder: None });
        }
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let options = DatabaseOptions { sync: SyncMode::Every(SELDOM), repairing: None };
        let journal =
            DatabaseJournal::open(&folder.path().join("journal.redb"), options).context("a temporary file")?;
        let progress = output::bytes(None);
        let reader = Reader::new(progress.wrap_read(self.bytes(Some(tenant))?)).map_err(|error| self.failed(error))?;
        archive::restore(&mut reader.only(Some(tenant)), &journal).map_err(|error| self.failed(error))?;
        progress.finish_and_clear();
        Ok(Opened { journal: Arc::new(journal), _folder: Some(folder) })
    }

    /// What there is, and what of it is damaged, after all of it was read.
    ///
    /// # Errors
    ///
    /// It cannot be had, or not be read to its end.
    pub fn check(&self) -> Result<(Listing, Vec<String>), Failure> {
        if let Source::Directory { journal, .. } = &self.source {
            let report = journal.check().map_err(|error| self.failed(error))?;
            return Ok((self.listing()?, report.damages.iter().map(ToString::to_string).collect()));
        }
        let survey = self.survey()?;
        Ok((survey.listing(), survey.damages.iter().map(ToString::to_string).collect()))
    }

    fn survey(&self) -> Result<Survey, Failure> {
        let (mut survey, progress) = (Survey::default(), output::items());
        for item in self.archive(None)? {
            survey.note(&item.map_err(|error| self.failed(error))?);
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(survey)
    }

    /// That there is nothing of a tenant.
    pub fn without(&self, tenant: &str) -> Failure {
        Failure::Usage(format!("{}: there is nothing of the tenant {tenant}", self.name))
    }

    /// What went wrong, with where.
    pub fn failed(&self, error: impl Into<ArchiveError>) -> Failure {
        Failure::History { origin: self.name.clone(), source: error.into() }
    }
}

/// An archive as a thread writes it.
struct Written {
    bytes: Option<PipeReader>,
    thread: Option<JoinHandle<Result<Counts, ArchiveError>>>,
}

impl Written {
    fn start(opened: Opened, seats: Vec<Seat>) -> io::Result<Written> {
        let (bytes, pipe) = io::pipe()?;
        let thread = std::thread::Builder::new().name("postbell-archive".into());
        let thread = thread.spawn(move || archive::write(&*opened.journal, &seats, io::BufWriter::new(pipe)))?;
        Ok(Written { bytes: Some(bytes), thread: Some(thread) })
    }

    /// Waits for the thread; its error, if it did not write the whole archive.
    fn end(&mut self) -> io::Result<()> {
        // The thread stops where nobody reads what it writes.
        self.bytes = None;
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(_))) => Ok(()),
            Some(Ok(Err(error))) => Err(io::Error::other(error)),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Read for Written {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.bytes.as_mut().map_or(Ok(0), |bytes| bytes.read(into))? {
            0 if !into.is_empty() => self.end().map(|()| 0),
            read => Ok(read),
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Whoever drops it before its end does not want to hear why it ends.
        let _ = self.end();
    }
}
