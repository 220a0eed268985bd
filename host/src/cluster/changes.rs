//! Changes that sources publish to NATS, instead of posting them: a stream, and in it a subject for each tenant.
//!
//! The subject is `<name>.changes.<tenant>`, the tenant's name written as in the journal's subjects; a message is the body
//! of `POST /v1/tenants/{tenant}/changes`. The stream is a work queue: what was applied is gone from it.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self};
use futures_util::TryFutureExt;

use crate::journal::subjects::escaped;
use crate::journal::{JetStreamError, JetStreamJournal};

/// How long a message may be worked at until it is given again, perhaps to another node.
const WORK: Duration = Duration::from_secs(30);

/// The stream that sources publish to.
#[derive(Clone, Debug)]
pub struct Changes {
    stream: Stream,
    name: String,
}

impl Changes {
    /// Finds the stream beside a journal, or makes it.
    ///
    /// # Errors
    ///
    /// See [`JetStreamError`].
    pub async fn beside(journal: &JetStreamJournal) -> Result<Changes, JetStreamError> {
        let options = journal.options();
        let (name, context) = (format!("{}-changes", options.name), jetstream::new(journal.client()));
        let wanted = Config {
            name: name.clone(),
            subjects: vec![format!("{}.changes.>", options.name)],
            description: Some("Postbell changes 1".into()),
            retention: RetentionPolicy::WorkQueue,
            // A full stream refuses; it never forgets.
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: options.replicas,
            ..Config::default()
        };
        let made = context.get_or_create_stream(wanted.clone());
        let stream = made.map_err(|error| JetStreamError::Unreachable(format!("stream {name}: {error}"))).await?;
        let found = &stream.cached_info().config;
        if (&found.description, found.retention) != (&wanted.description, wanted.retention) {
            let (found, wanted) = (format!("{:?}", found.retention), format!("{:?}", wanted.retention));
            let what = format!("stream {name}");
            return Err(JetStreamError::OtherLayout { what, setting: "retention", found, wanted });
        }
        Ok(Changes { stream, name: options.name.clone() })
    }

    /// What is for a tenant, in order: the next message comes once the one before is acknowledged.
    ///
    /// # Errors
    ///
    /// The servers do not give it; the text says why.
    pub async fn of(&self, tenant: &str) -> Result<pull::Stream, String> {
        let name = format!("tenant-{}", escaped(tenant));
        let config = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: format!("{}.changes.{}", self.name, escaped(tenant)),
            ack_policy: AckPolicy::Explicit,
            ack_wait: WORK,
            max_ack_pending: 1,
            ..pull::Config::default()
        };
        let consumer: PullConsumer =
            self.stream.get_or_create_consumer(&name, config).await.map_err(|error| error.to_string())?;
        consumer.messages().await.map_err(|error| error.to_string())
    }
}
