//! SIGHUP: the configuration is read again, and what changed in its tenants counts from then on.

use std::path::PathBuf;

use super::difference::differences;
use super::{ChangeError, Changed, Edit, Known, Tenants};
use crate::program::config::{Config, Fixed, TenantConfig};

impl Tenants {
    /// Reads the configuration and its users files again, and makes its tenants so, all of them or none; says in the log what
    /// changed.
    ///
    /// # Errors
    ///
    /// There is a mistake in it, or something changed that takes a restart; then nothing was changed.
    pub async fn reload(&self, begun_with: &Fixed) -> Result<Changed, ChangeError> {
        let file = self.0.file.clone();
        let file = file.ok_or_else(|| ChangeError::Conflict("there is no configuration to read again".to_owned()))?;
        let config = read(file).await?;
        if let Some(key) = begun_with.difference(&config.fixed) {
            return Err(ChangeError::Conflict(format!("{key} changed, which takes a restart")));
        }
        let mut known = self.known().await;
        let (edits, words) = edits(&known, config.tenants);
        let changed = self.apply(&mut known, edits, || Ok(())).await?;
        for line in &words {
            tracing::info!("{line}");
        }
        tracing::info!(changes = words.len(), "the configuration was read again");
        Ok(changed)
    }
}

async fn read(file: PathBuf) -> Result<Config, ChangeError> {
    let read = tokio::task::spawn_blocking(move || Config::load(&file)).await;
    let read = read.map_err(|error| ChangeError::Failed(error.to_string()))?;
    read.map_err(|mistake| ChangeError::Wrong(mistake.to_string()))
}

/// What is to be changed, and that in words.
fn edits(known: &Known, wanted: Vec<TenantConfig>) -> (Vec<Edit>, Vec<String>) {
    let (mut edits, mut words) = (Vec::new(), Vec::new());
    for name in known.keys().filter(|name| !wanted.iter().any(|tenant| tenant.name == **name)) {
        words.push(format!("tenant {name}: it is gone; what is kept of it stays"));
        edits.push(Edit::Remove(name.clone()));
    }
    for tenant in wanted {
        match known.get(&tenant.name).map(|(former, _)| differences(former, &tenant)) {
            None => words.push(format!("tenant {}: it is new", tenant.name)),
            Some(same) if same.is_empty() => continue,
            Some(different) => words.push(format!("tenant {}: {}", tenant.name, different.join("; "))),
        }
        edits.push(Edit::Put(Box::new(tenant)));
    }
    (edits, words)
}
