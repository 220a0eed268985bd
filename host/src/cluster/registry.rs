//! The bucket: what is written there is written over a known revision, or not at all.

use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::{self, stream::StorageType};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::journal::{JetStreamError, JetStreamJournal};

/// What the bucket's description says.
const DESCRIPTION: &str = "Postbell nodes 1";

/// The bucket that says who has which tenant.
#[derive(Clone, Debug)]
pub struct Registry {
    store: Store,
    patience: Duration,
}

/// Why something was not written, or read.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The key has another revision than the one that was to be written over.
    #[error("somebody else was first")]
    Conflict,
    /// The servers did not do it, as far as is known.
    #[error("NATS: {0}")]
    Failed(String),
}

/// What became of a key.
#[derive(Debug)]
pub(super) struct News {
    pub(super) key: String,
    /// None: it was removed.
    pub(super) value: Option<Bytes>,
    pub(super) revision: u64,
}

impl Registry {
    /// Finds the bucket beside a journal, or makes it.
    ///
    /// # Errors
    ///
    /// See [`JetStreamError`].
    pub async fn beside(journal: &JetStreamJournal) -> Result<Registry, JetStreamError> {
        let options = journal.options();
        let bucket = format!("{}-nodes", options.name);
        let context = jetstream::new(journal.client());
        let unreachable =
            |error: &dyn std::fmt::Display| JetStreamError::Unreachable(format!("bucket {bucket}: {error}"));
        let store = match context.get_key_value(&bucket).await {
            Ok(store) => store,
            Err(_) => {
                let config = kv::Config {
                    bucket: bucket.clone(),
                    description: DESCRIPTION.into(),
                    history: 1,
                    storage: StorageType::File,
                    num_replicas: options.replicas,
                    ..kv::Config::default()
                };
                context.create_key_value(config).await.map_err(|error| unreachable(&error))?
            }
        };
        let config = &store.stream.cached_info().config;
        let other = |setting, found: String, wanted: &str| {
            let what = format!("bucket {bucket}");
            Err(JetStreamError::OtherLayout { what, setting, found, wanted: wanted.to_owned() })
        };
        if config.description.as_deref() != Some(DESCRIPTION) {
            return other("description", format!("{:?}", config.description), DESCRIPTION);
        }
        if !config.max_age.is_zero() {
            return other("max_age", format!("{:?}", config.max_age), "0: nothing is forgotten by age");
        }
        Ok(Registry { store, patience: options.patience })
    }

    /// Writes a key that is not there; gives its revision.
    pub(super) async fn create(&self, key: &str, value: &impl Serialize) -> Result<u64, RegistryError> {
        let value = text(value);
        self.within(async {
            self.store.create(key, value).await.map_err(|error| match error.kind() {
                CreateErrorKind::AlreadyExists => RegistryError::Conflict,
                _ => RegistryError::Failed(error.to_string()),
            })
        })
        .await
    }

    /// Writes over this revision of a key; gives the new one.
    pub(super) async fn replace(&self, key: &str, value: &impl Serialize, revision: u64) -> Result<u64, RegistryError> {
        let value = text(value);
        self.within(async {
            self.store.update(key, value, revision).await.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => RegistryError::Conflict,
                _ => RegistryError::Failed(error.to_string()),
            })
        })
        .await
    }

    /// Writes a key, whatever it was.
    pub(super) async fn put(&self, key: &str, value: &impl Serialize) -> Result<(), RegistryError> {
        let value = text(value);
        let failed = |error: kv::PutError| RegistryError::Failed(error.to_string());
        self.within(async { self.store.put(key, value).await.map(drop).map_err(failed) }).await
    }

    /// Removes a key: this revision of it, or whichever it has.
    pub(super) async fn remove(&self, key: &str, revision: Option<u64>) -> Result<(), RegistryError> {
        self.within(async {
            self.store.delete_expect_revision(key, revision).await.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => RegistryError::Conflict,
                _ => RegistryError::Failed(error.to_string()),
            })
        })
        .await
    }

    /// The value of a key, and its revision.
    pub(super) async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, u64)>, RegistryError> {
        let failed = |error: &dyn std::fmt::Display| RegistryError::Failed(error.to_string());
        let entry = self.within(async { self.store.entry(key).await.map_err(|error| failed(&error)) }).await?;
        let Some(entry) = entry.filter(|entry| matches!(entry.operation, Operation::Put)) else { return Ok(None) };
        let value = serde_json::from_slice(&entry.value).map_err(|error| failed(&error))?;
        Ok(Some((value, entry.revision)))
    }

    /// What there is, then whatever changes; it ends when the servers lose sight of who listens.
    pub(super) async fn watch(&self) -> Result<impl futures_util::Stream<Item = News> + Unpin + use<>, RegistryError> {
        let failed = |error: kv::WatchError| RegistryError::Failed(error.to_string());
        let watch = self.within(async { self.store.watch_with_history(">").await.map_err(failed) }).await?;
        let news = watch.take_while(|entry| std::future::ready(entry.is_ok())).filter_map(|entry| {
            let news = entry.ok().map(|entry| News {
                value: matches!(entry.operation, Operation::Put).then_some(entry.value),
                key: entry.key,
                revision: entry.revision,
            });
            std::future::ready(news)
        });
        Ok(Box::pin(news))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        let late = || Err(RegistryError::Failed(format!("no answer within {} s", self.patience.as_secs())));
        tokio::time::timeout(self.patience, work).await.unwrap_or_else(|_| late())
    }
}

fn text(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("it has no keys but text").into()
}
