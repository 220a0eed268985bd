//! The journal on NATS JetStream: what one machine's disk keeps otherwise, a cluster of servers keeps.
//!
//! A seat's records stand in the messages of one subject, in one of the streams that the operator sizes; which one is a
//! function of the seat's name alone. What was appended at once is one message, or, above the server's payload limit, an
//! atomic batch of them (ADR-50). Each append names the stream's sequence of the subject's last message, and the server
//! refuses it if that is another: so an owner that lost its seat appends nothing any more. That a subject's last message
//! is never purged is part of this: the expectation of an empty subject is 0, as if nobody had ever owned it.
//!
//! | subject                                        | messages                                              |
//! | ---------------------------------------------- | ----------------------------------------------------- |
//! | `<name>.<stream>.records.<tenant>.<plugin>.<partition>`   | [`super::format`]: message of a stream     |
//! | `<name>.<stream>.snapshots.<tenant>.<plugin>.<partition>` | the last one: index of snapshots           |
//!
//! Snapshots are objects in the bucket `<name>-snapshots`, named in the index; beside them lie the components that seats run. Each stream says in its description of
//! which layout it is, because a server that does not know a setting drops it without a word: everything is read back.

mod append;
mod components;
mod connect;
mod index;
mod lanes;
mod promises;
mod publish;
mod read;
mod snapshots;
pub(crate) mod subjects;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::Stream;
use tokio::runtime::Runtime;

use super::{Append, ComponentId, Journal, JournalError, KeptComponent, Record, Respond, Seat, SeatFacts, Snapshot};
use lanes::Lanes;
pub use promises::{Promise, sync_promise};

/// Where a journal on JetStream is, and how.
#[derive(Clone)]
pub struct JetStreamOptions {
    /// The servers' URLs, `nats://host:port` or `tls://host:port`, with `user:password@` or `token@` before the host where
    /// that is asked for. One is enough: the others are learned from it.
    pub servers: Vec<String>,
    /// A file of certificates in PEM form that are trusted beside the system's.
    pub authorities: Option<PathBuf>,
    /// What the names of streams, subjects and buckets begin with.
    pub name: String,
    /// How many streams the seats are spread over. Cannot be changed later.
    pub streams: usize,
    /// How many servers keep each message; what is made is made so, what is there already is compared.
    pub replicas: usize,
    /// How long an append, or anything else that is asked of the servers, may take until it counts as failed.
    pub patience: Duration,
}

impl Default for JetStreamOptions {
    /// One stream, three replicas, ten seconds.
    fn default() -> Self {
        JetStreamOptions {
            servers: vec!["nats://127.0.0.1:4222".into()],
            authorities: None,
            name: "postbell".into(),
            streams: 1,
            replicas: 3,
            patience: Duration::from_secs(10),
        }
    }
}

/// Without the servers' URLs, which may hold passwords and tokens.
impl std::fmt::Debug for JetStreamOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let JetStreamOptions { servers, authorities, name, streams, replicas, patience } = self;
        formatter
            .debug_struct("JetStreamOptions")
            .field("servers", &servers.len())
            .field("authorities", authorities)
            .field("name", name)
            .field("streams", streams)
            .field("replicas", replicas)
            .field("patience", patience)
            .finish()
    }
}

/// Why there is no journal on JetStream. Nothing was changed there, but that what was missing may have been made.
#[derive(Debug, thiserror::Error)]
pub enum JetStreamError {
    /// No server answers, or not now: later one may.
    #[error("NATS: {0}; it may work later")]
    Unreachable(String),
    /// The servers refuse the login.
    #[error("NATS refuses the login: check user, password and token in the servers' URLs")]
    Login,
    /// The options are wrong.
    #[error("NATS: {0}")]
    Options(String),
    /// A stream or bucket is there that this program did not make, or made with other options, or it was changed since.
    #[error("NATS: {what}: {setting} is {found}, not {wanted}")]
    OtherLayout {
        /// The stream or bucket.
        what: String,
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// A server is too old, or its operator does not allow what is needed.
    #[error("NATS: {0}")]
    Refused(String),
}

/// A journal on NATS JetStream.
pub struct JetStreamJournal {
    store: Arc<Store>,
    promises: Vec<Promise>,
    /// Drives everything; gone once this is dropped.
    runtime: Option<Runtime>,
}

/// What all that is asked of the servers has in common.
struct Store {
    client: async_nats::Client,
    streams: Vec<Stream>,
    snapshots: ObjectStore,
    options: JetStreamOptions,
    /// Tells this life's messages from those of every other.
    incarnation: u64,
    groups: AtomicU64,
    lanes: Lanes,
    /// Those that are known to be there, with a signature or without.
    components: Mutex<BTreeSet<(ComponentId, bool)>>,
    /// Where each seat's last read ended: the next record, and the first message that may have it.
    continuations: Mutex<BTreeMap<Seat, (u64, u64)>>,
}

impl JetStreamJournal {
    /// Connects to the servers, makes the streams and the bucket where they are missing, and reads back what they are.
    /// Blocks. While it is open, a lost connection is made again by itself.
    ///
    /// # Errors
    ///
    /// See [`JetStreamError`].
    pub fn connect(options: JetStreamOptions) -> Result<JetStreamJournal, JetStreamError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("postbell-nats").enable_all().build();
        let runtime = runtime.map_err(|error| JetStreamError::Options(error.to_string()))?;
        let connecting = result_of(&runtime, connect::connect(options, crate::number()));
        match connecting.recv().expect("connecting does not panic") {
            Ok((store, promises)) => Ok(JetStreamJournal { store: Arc::new(store), promises, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Where it is, and how.
    pub fn options(&self) -> &JetStreamOptions {
        &self.store.options
    }

    /// The connection to the servers.
    pub(crate) fn client(&self) -> async_nats::Client {
        self.store.client.clone()
    }

    /// What it promises, and what it cannot.
    pub fn promises(&self) -> &[Promise] {
        &self.promises
    }

    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        result_of(self.runtime(), work).recv().expect("what is asked of the servers does not panic")
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until this is dropped")
    }

    /// As [`Journal::append`] for one seat, without waiting.
    fn submit(&self, append: Append, respond: Respond) {
        let seat = append.seat.clone();
        if self.store.lanes.push(append, respond) {
            self.runtime().spawn(append::run(self.store.clone(), seat));
        }
    }
}

/// Callers may be threads of a runtime themselves, where its own way to wait is forbidden.
fn result_of<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> Receiver<T> {
    let (done, result) = channel();
    runtime.spawn(async move {
        // An error means that nobody waits any more.
        let _ = done.send(work.await);
    });
    result
}

impl Store {
    fn stream(&self, seat: &Seat) -> &Stream {
        &self.streams[subjects::stream_of(seat, self.streams.len())]
    }

    fn subject(&self, seat: &Seat, kind: subjects::Kind) -> String {
        subjects::subject(&self.options.name, self.streams.len(), seat, kind)
    }

    fn has_component(&self, id: ComponentId, signed: bool) -> bool {
        self.components.lock().expect("nothing panics while this lock is held").contains(&(id, signed))
    }

    fn note_component(&self, id: ComponentId, signed: bool) {
        self.components.lock().expect("nothing panics while this lock is held").insert((id, signed));
    }

    fn new_group(&self) -> u64 {
        self.groups.fetch_add(1, Ordering::Relaxed)
    }

    fn continuations_now(&self) -> MutexGuard<'_, BTreeMap<Seat, (u64, u64)>> {
        self.continuations.lock().expect("nothing panics while this lock is held")
    }

    /// Bounds what is asked of the servers.
    async fn within<T>(&self, work: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
        let patience = self.options.patience;
        let late = || Err(failed(&format_args!("no answer within {} s", patience.as_secs())));
        tokio::time::timeout(patience, work).await.unwrap_or_else(|_| late())
    }
}

/// What the servers did not do.
fn failed(why: &dyn std::fmt::Display) -> JournalError {
    JournalError::Store(format!("NATS: {why}; it goes on by itself once it can"))
}

impl Journal for JetStreamJournal {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        let outcomes = appends.iter().map(|append| {
            let (respond, outcome) = channel();
            // An error means that nobody waits any more.
            self.submit(append.clone(), Box::new(move |outcome| drop(respond.send(outcome))));
            outcome
        });
        let outcomes: Vec<_> = outcomes.collect();
        outcomes.into_iter().map(|outcome| outcome.recv().expect("every append is answered")).collect()
    }

    fn append_later(&self, append: Append, respond: Respond) -> Option<(Append, Respond)> {
        self.submit(append, respond);
        None
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        let (store, seat) = (self.store.clone(), seat.clone());
        self.wait(async move { read::read(&store, &seat, from).await })
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        let (store, seat) = (self.store.clone(), seat.clone());
        self.wait(async move { store.within(read::facts(&store, &seat)).await })
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        let store = self.store.clone();
        self.wait(async move { read::seats(&store).await })
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        let (store, seat, snapshot) = (self.store.clone(), seat.clone(), snapshot.clone());
        self.wait(async move { snapshots::put(&store, &seat, snapshot).await })
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        let (store, seat) = (self.store.clone(), seat.clone());
        self.wait(async move { snapshots::get(&store, &seat, sequence).await })
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        let (store, seat) = (self.store.clone(), seat.clone());
        self.wait(async move { snapshots::cut(&store, &seat, horizon).await })
    }

    fn put_component(&self, id: ComponentId, kept: &KeptComponent) -> Result<(), JournalError> {
        let (store, kept) = (self.store.clone(), kept.clone());
        self.wait(async move { components::put(&store, id, kept).await })
    }

    fn component(&self, id: ComponentId) -> Result<Option<KeptComponent>, JournalError> {
        let store = self.store.clone();
        self.wait(async move { components::get(&store, id).await })
    }

    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        let (store, seat) = (self.store.clone(), seat.clone());
        self.wait(async move { snapshots::remove_seat(&store, &seat).await })
    }
}

impl Drop for JetStreamJournal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for JetStreamJournal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JetStreamJournal").field("name", &self.store.options.name).finish_non_exhaustive()
    }
}
