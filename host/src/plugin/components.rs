//! The components that tenants run, or may go back to, kept by their SHA-256: in a folder, or as long as the host lives.
//!
//! A file is written and synced before any journal names it. Beside it lies its signature, where it came with one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use crate::journal::{ComponentId, Journal, JournalError, KeptComponent};

/// Judges whether a component that was kept may still be loaded: its bytes, and its signature if it came with one.
pub type Verify = Arc<dyn Fn(&[u8], Option<&str>) -> Result<(), String> + Send + Sync>;

/// Why a component that a tenant runs, or ran, cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// It is not kept here.
    #[error("the component {0} is not kept here")]
    Missing(ComponentId),
    /// Its file is not what was written.
    #[error("the file of the component {0} is damaged")]
    Damaged(ComponentId),
    /// It may not be loaded.
    #[error("the component {0} may not be loaded: {1}")]
    Untrusted(ComponentId, String),
    /// It does not load.
    #[error("the component {0} does not load: {1}")]
    Plugin(ComponentId, super::PluginError),
    /// It cannot be read or written.
    #[error("the component {0}: {1}")]
    Io(ComponentId, io::Error),
    /// The journal, which other processes have too, does not take or give it.
    #[error("the component {0}: {1}")]
    Journal(ComponentId, JournalError),
}

pub(super) struct Components {
    /// None: they are kept in memory.
    folder: Option<PathBuf>,
    memory: Mutex<BTreeMap<ComponentId, KeptComponent>>,
    /// Has them too, where other processes need them.
    journal: Arc<dyn Journal>,
}

impl Components {
    pub(super) fn new(folder: Option<PathBuf>, journal: Arc<dyn Journal>) -> Components {
        Components { folder, memory: Mutex::default(), journal }
    }

    /// Keeps a component; at once, if it is kept already.
    pub(super) fn put(&self, id: ComponentId, component: &[u8], signature: Option<&str>) -> Result<(), ComponentError> {
        let kept = KeptComponent { component: component.to_vec(), signature: signature.map(str::to_owned) };
        self.journal.put_component(id, &kept).map_err(|error| ComponentError::Journal(id, error))?;
        self.put_here(id, kept)
    }

    fn put_here(&self, id: ComponentId, kept: KeptComponent) -> Result<(), ComponentError> {
        let Some(folder) = &self.folder else {
            self.memory().entry(id).or_insert(kept);
            return Ok(());
        };
        let KeptComponent { component, signature } = &kept;
        write_all(folder, id, component, signature.as_deref()).map_err(|error| ComponentError::Io(id, error))
    }

    pub(super) fn get(&self, id: ComponentId) -> Result<KeptComponent, ComponentError> {
        match self.get_here(id) {
            Err(ComponentError::Missing(_)) => {}
            got => return got,
        }
        let got = self.journal.component(id).map_err(|error| ComponentError::Journal(id, error))?;
        let kept = got.ok_or(ComponentError::Missing(id))?;
        if Sha256::digest(&kept.component).as_slice() != id.0 {
            return Err(ComponentError::Damaged(id));
        }
        self.put_here(id, kept.clone())?;
        Ok(kept)
    }

    fn get_here(&self, id: ComponentId) -> Result<KeptComponent, ComponentError> {
        let Some(folder) = &self.folder else {
            return self.memory().get(&id).cloned().ok_or(ComponentError::Missing(id));
        };
        let component = match fs::read(component_file(folder, id)) {
            Ok(component) => component,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ComponentError::Missing(id)),
            Err(error) => return Err(ComponentError::Io(id, error)),
        };
        if Sha256::digest(&component).as_slice() != id.0 {
            return Err(ComponentError::Damaged(id));
        }
        Ok(KeptComponent { component, signature: fs::read_to_string(signature_file(folder, id)).ok() })
    }

    /// Every component that is kept.
    pub(super) fn all(&self) -> Vec<ComponentId> {
        let Some(folder) = &self.folder else { return self.memory().keys().copied().collect() };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(COMPONENT)?.parse().ok()).collect()
    }

    /// Removes all but these.
    pub(super) fn keep_only(&self, wanted: &BTreeSet<ComponentId>) {
        for id in self.all() {
            if wanted.contains(&id) {
                continue;
            }
            match &self.folder {
                Some(folder) => {
                    if let Err(error) = fs::remove_file(component_file(folder, id)) {
                        tracing::warn!(%id, %error, "a component that nobody needs any more stays");
                    }
                    // It may never have been there.
                    let _ = fs::remove_file(signature_file(folder, id));
                }
                None => drop(self.memory().remove(&id)),
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<ComponentId, KeptComponent>> {
        self.memory.lock().expect("nothing panics while this lock is held")
    }
}

const COMPONENT: &str = ".wasm";

fn component_file(folder: &Path, id: ComponentId) -> PathBuf {
    folder.join(format!("{id}{COMPONENT}"))
}

fn signature_file(folder: &Path, id: ComponentId) -> PathBuf {
    folder.join(format!("{id}.signature"))
}

/// The signature first: a component that is there has its signature.
fn write_all(folder: &Path, id: ComponentId, component: &[u8], signature: Option<&str>) -> io::Result<()> {
    let file = component_file(folder, id);
    let signed = signature_file(folder, id);
    if file.exists() && (signature.is_none() || signed.exists()) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if let Some(signature) = signature {
        write(folder, &signed, signature.as_bytes())?;
    }
    write(folder, &file, component)?;
    File::open(folder)?.sync_all()
}

fn write(folder: &Path, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(file).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::MemoryJournal;

    fn new(folder: Option<PathBuf>) -> Components {
        Components::new(folder, Arc::new(MemoryJournal::default()))
    }

    fn id(component: &[u8]) -> ComponentId {
        ComponentId(Sha256::digest(component).into())
    }

    fn keeps(components: &Components) {
        let (one, other) = (b"one", b"other");
        components.put(id(one), one, None).expect("kept");
        components.put(id(one), one, None).expect("kept already");
        components.put(id(other), other, Some("signed")).expect("kept");
        assert_eq!(components.get(id(one)).expect("it is there").component, one);
        assert_eq!(components.get(id(other)).expect("it is there").signature.as_deref(), Some("signed"));
        assert_eq!(components.all().len(), 2);
        components.keep_only(&BTreeSet::from([id(other)]));
        assert!(matches!(components.get(id(one)), Err(ComponentError::Missing(_))));
        components.get(id(other)).expect("it stays");
    }

    #[test]
    fn what_is_kept_is_found_by_its_digest() {
        keeps(&new(None));
        let folder = tempfile::tempdir().expect("a folder");
        keeps(&new(Some(folder.path().join("components"))));
    }

    #[test]
    fn a_file_that_was_altered_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let components = new(Some(folder.path().to_owned()));
        components.put(id(b"one"), b"one", None).expect("kept");
        std::fs::write(component_file(folder.path(), id(b"one")), b"two").expect("written");
        assert!(matches!(components.get(id(b"one")), Err(ComponentError::Damaged(_))));
    }
}
