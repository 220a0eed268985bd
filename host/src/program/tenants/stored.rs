//! The tenants that were made while the server ran: a file for each in the data directory, `tenants/NAME.toml`, with what a
//! `[[tenant]]` of the configuration holds.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{ChangeError, failed, folder};
use crate::program::config::{self, TenantConfig, TenantDefaults};
use crate::program::toml_file::{Mistake, TomlFile};

/// How a file is called until it is whole.
const NEW: &str = "new";

/// Where they are kept.
#[derive(Debug)]
pub struct Stored {
    /// None: as long as the server runs.
    folder: Option<PathBuf>,
    /// What paths in them are relative to.
    base: PathBuf,
}

impl Stored {
    /// `data`: the data directory; `file`: the configuration, beside which relative paths begin.
    pub fn new(data: Option<&Path>, file: Option<&Path>) -> Stored {
        Stored { folder: data.map(|data| data.join("tenants")), base: folder(file).to_owned() }
    }

    /// What a file is to hold, and what that means.
    ///
    /// # Errors
    ///
    /// It is no tenant.
    pub fn read(
        &self,
        name: &str,
        mut table: toml::Table,
        defaults: &TenantDefaults,
    ) -> Result<(String, TenantConfig), ChangeError> {
        if table.insert("name".to_owned(), name.into()).is_some() {
            return Err(ChangeError::Wrong("the name of the tenant stands in the path alone".to_owned()));
        }
        let text = toml::to_string(&table).map_err(|error| ChangeError::Wrong(error.to_string()))?;
        let config = self.parse(name, text.clone(), defaults).map_err(|error| match error {
            // Its place is one in a text that nobody wrote.
            Mistake::At { message, .. } => ChangeError::Wrong(message),
            unreadable @ Mistake::Unreadable { .. } => ChangeError::Wrong(unreadable.to_string()),
        })?;
        Ok((text, config))
    }

    fn parse(&self, name: &str, text: String, defaults: &TenantDefaults) -> Result<TenantConfig, Mistake> {
        let file = TomlFile::new(&self.base.join(format!("{name}.toml")), text);
        Ok(TenantConfig { stored: true, ..config::tenant(&file, defaults)? })
    }

    /// All that are kept, in the order of their names.
    ///
    /// # Errors
    ///
    /// One cannot be read, or is wrong.
    pub fn all(&self, defaults: &TenantDefaults) -> Result<Vec<TenantConfig>, Mistake> {
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let unreadable = |source| Mistake::Unreadable { file: folder.clone(), source };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut tenants = Vec::new();
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".toml"));
            if let Some(name) = name {
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|source| Mistake::Unreadable { file: path.clone(), source })?;
                tenants.push(self.parse(name, text, defaults)?);
            }
        }
        tenants.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(tenants)
    }

    /// Keeps a tenant, as a whole or not at all.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn keep(&self, name: &str, text: &str) -> Result<(), ChangeError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let written = || {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let new = folder.join(NEW);
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(new, path(folder, name))?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|error: io::Error| failed(format!("{}: {error}", path(folder, name).display())))
    }

    /// Keeps it no longer.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub fn forget(&self, name: &str) -> Result<(), ChangeError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let removed = std::fs::remove_file(path(folder, name)).and_then(|()| File::open(folder)?.sync_all());
        removed.map_err(|error| failed(format!("{}: {error}", path(folder, name).display())))
    }
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.toml"))
}
