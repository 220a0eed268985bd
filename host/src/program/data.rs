//! The data directory: held by one process at a time, and of a known version.
//!
//! It holds `version` (one line, the version), `lock` (locked as long as a process uses the directory), `journal.redb`
//! (what must not be lost), `components` (the plugins that tenants run or may go back to, which must not be lost either,
//! where they are not the configured ones) and `cache` (compiled plugins, which may be deleted while no server runs).

mod new;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use new::NewDataDirectory;

use crate::journal::{DatabaseError, DatabaseJournal, DatabaseOptions, SyncMode};

/// The layout that this program writes and reads.
const VERSION: &str = "postbell data 1\n";
/// Where `version` is written before it gets its name.
const NEW_VERSION: &str = "version.new";
/// What is locked.
const LOCK: &str = "lock";
/// The database file.
const JOURNAL: &str = "journal.redb";

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be made, read or written.
    #[error("data directory {}: {source}", folder.display())]
    Unusable {
        /// The directory.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("data directory {}: another process uses it; stop that, or, with a tool, ask it with --url", folder.display())]
    Locked {
        /// The directory.
        folder: PathBuf,
    },
    /// A version of Postbell made it whose layout this one does not know.
    #[error("data directory {}: it is of another version ({found:?}, expected {:?})", folder.display(), VERSION.trim_end())]
    OtherVersion {
        /// The directory.
        folder: PathBuf,
        /// What its `version` says.
        found: String,
    },
    /// The journal in it cannot be used.
    #[error("data directory {}: {source}", folder.display())]
    Journal {
        /// The directory.
        folder: PathBuf,
        /// Why, and what to do.
        source: DatabaseError,
    },
    /// The journal does not give a tenant's state.
    #[error("tenant {tenant}: {why}")]
    History {
        /// The tenant's name.
        tenant: String,
        /// Why, and what to do.
        why: String,
    },
    /// It has files in it, but no `version`.
    #[error("data directory {}: it is not empty and has no `version`: damaged, or not Postbell's", folder.display())]
    Foreign {
        /// The directory.
        folder: PathBuf,
    },
    /// There is nothing in it to look at.
    #[error("data directory {}: no server has kept anything in it", folder.display())]
    Empty {
        /// The directory.
        folder: PathBuf,
    },
    /// There is something in it that would be lost.
    #[error("data directory {}: it is not empty; give a new one", folder.display())]
    NotEmpty {
        /// The directory.
        folder: PathBuf,
    },
}

/// A data directory that this process holds until this is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    folder: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory where it is missing, checks its version and locks it.
    ///
    /// # Errors
    ///
    /// See [`DataError`].
    pub fn open(folder: &Path) -> Result<DataDirectory, DataError> {
        let unusable = |source| DataError::Unusable { folder: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        check(folder)?;
        let lock = lock(folder)?;
        // Again, because another process may have been first between the check and the lock.
        if check(folder)? == State::Empty {
            write_version(folder).map_err(unusable)?;
        }
        Ok(DataDirectory { folder: folder.to_owned(), _lock: lock })
    }

    /// Takes a directory that a server has used.
    ///
    /// # Errors
    ///
    /// See [`DataError`].
    pub fn existing(folder: &Path) -> Result<DataDirectory, DataError> {
        if check(folder)? == State::Empty || !folder.join(JOURNAL).exists() {
            return Err(DataError::Empty { folder: folder.to_owned() });
        }
        Ok(DataDirectory { folder: folder.to_owned(), _lock: lock(folder)? })
    }

    /// Opens the journal in it, which is repaired first if its last user did not close it; that shows on a terminal.
    ///
    /// # Errors
    ///
    /// It is of another version, damaged, or cannot be written.
    pub fn open_journal(&self, sync: SyncMode) -> Result<DatabaseJournal, DataError> {
        let bar = ProgressBar::hidden();
        if std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_style(
            ProgressStyle::with_template("repairing the journal {wide_bar} {percent} %").expect("it is good"),
        );
        bar.set_length(1_000);
        let repairing = {
            let bar = bar.clone();
            move |done: f64| bar.set_position((done * 1_000.0) as u64)
        };
        let opened =
            DatabaseJournal::open(&self.journal(), DatabaseOptions { sync, repairing: Some(Arc::new(repairing)) });
        bar.finish_and_clear();
        opened.map_err(|source| DataError::Journal { folder: self.folder.clone(), source })
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// Where the plugins are kept that tenants run or may go back to.
    pub fn components(&self) -> PathBuf {
        self.folder.join("components")
    }

    /// Where compiled plugins are kept.
    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }
}

#[derive(PartialEq)]
enum State {
    Empty,
    Ours,
}

fn check(folder: &Path) -> Result<State, DataError> {
    let unusable = |source| DataError::Unusable { folder: folder.to_owned(), source };
    match std::fs::read(folder.join("version")) {
        Ok(version) if version == VERSION.as_bytes() => Ok(State::Ours),
        Ok(version) => Err(DataError::OtherVersion {
            folder: folder.to_owned(),
            found: String::from_utf8_lossy(&version[..version.len().min(60)]).trim_end().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for entry in std::fs::read_dir(folder).map_err(unusable)? {
                let name = entry.map_err(unusable)?.file_name();
                if name != LOCK && name != NEW_VERSION {
                    return Err(DataError::Foreign { folder: folder.to_owned() });
                }
            }
            Ok(State::Empty)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn lock(folder: &Path) -> Result<File, DataError> {
    let unusable = |source| DataError::Unusable { folder: folder.to_owned(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(LOCK))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn write_version(folder: &Path) -> io::Result<()> {
    let new = folder.join(NEW_VERSION);
    let mut file = File::create(&new)?;
    file.write_all(VERSION.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, folder.join("version"))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("new/data");
        let first = DataDirectory::open(&data).expect("a new directory");
        assert!(matches!(DataDirectory::open(&data), Err(DataError::Locked { .. })));
        drop(first);
        DataDirectory::open(&data).expect("it is free again");
    }

    #[test]
    fn another_version_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("version"), "postbell data 99\n").expect("written");
        let error = DataDirectory::open(folder.path()).expect_err("another version");
        assert!(matches!(&error, DataError::OtherVersion { found, .. } if found == "postbell data 99"));
        assert!(!folder.path().join("lock").exists());
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("letter.txt"), "dear").expect("written");
        assert!(matches!(DataDirectory::open(folder.path()), Err(DataError::Foreign { .. })));
        assert!(!folder.path().join("lock").exists());
    }

    #[test]
    fn a_crash_before_the_version_was_written_is_mended() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("lock"), "").expect("written");
        std::fs::write(folder.path().join(NEW_VERSION), "post").expect("written");
        drop(DataDirectory::open(folder.path()).expect("as good as new"));
        assert_eq!(std::fs::read_to_string(folder.path().join("version")).expect("a version"), VERSION);
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(matches!(DataDirectory::open(file.path()), Err(DataError::Unusable { .. })));
    }
}
