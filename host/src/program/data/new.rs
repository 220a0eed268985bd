//! A data directory that is made of something else than a server's work.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{DataDirectory, DataError, JOURNAL, LOCK, NEW_VERSION, State, check, lock, write_version};
use crate::journal::{DatabaseJournal, SyncMode};

/// A data directory that is being filled. Until it is complete it has no `version`, so no server takes it; if it is
/// dropped before, it is emptied.
#[derive(Debug)]
pub struct NewDataDirectory {
    directory: DataDirectory,
    complete: bool,
}

impl NewDataDirectory {
    /// Makes the directory where it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// See [`DataError`]; above all, it is not empty.
    pub fn create(folder: &Path) -> Result<NewDataDirectory, DataError> {
        let not_empty = || DataError::NotEmpty { folder: folder.to_owned() };
        let empty = |folder: &Path| match check(folder) {
            Ok(State::Empty) => Ok(()),
            Ok(State::Ours) | Err(DataError::Foreign { .. }) => Err(not_empty()),
            Err(error) => Err(error),
        };
        let unusable = |source| DataError::Unusable { folder: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        empty(folder)?;
        let directory = DataDirectory { folder: folder.to_owned(), _lock: lock(folder)? };
        // Again, because another process may have been first between the check and the lock.
        empty(folder)?;
        Ok(NewDataDirectory { directory, complete: false })
    }

    /// Makes an empty journal in it.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn open_journal(&self) -> Result<DatabaseJournal, DataError> {
        self.directory.open_journal(SyncMode::Always)
    }

    /// Makes it a data directory like any other.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn complete(mut self) -> Result<(), DataError> {
        let folder = &self.directory.folder;
        write_version(folder).map_err(|source| DataError::Unusable { folder: folder.clone(), source })?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for NewDataDirectory {
    fn drop(&mut self) {
        if !self.complete {
            for name in [JOURNAL, NEW_VERSION, LOCK] {
                // What is left for want of rights keeps the directory from being taken for one that is whole.
                let _ = std::fs::remove_file(self.directory.folder.join(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_directory_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let new = NewDataDirectory::create(&data).expect("a new directory");
        assert!(matches!(NewDataDirectory::create(&data), Err(DataError::Locked { .. })));
        drop(new.open_journal().expect("a journal"));
        assert!(matches!(DataDirectory::open(&data), Err(DataError::Foreign { .. })));
        drop(new);
        assert_eq!(std::fs::read_dir(&data).expect("it is there").count(), 0, "it is empty again");
        assert!(matches!(DataDirectory::existing(&data), Err(DataError::Empty { .. })));

        let new = NewDataDirectory::create(&data).expect("an empty directory");
        drop(new.open_journal().expect("a journal"));
        new.complete().expect("a version");
        assert!(matches!(NewDataDirectory::create(&data), Err(DataError::NotEmpty { .. })));
        DataDirectory::existing(&data).expect("it is complete");
    }
}
