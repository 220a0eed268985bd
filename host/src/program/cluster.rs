//! The NATS servers that keep what a data directory keeps otherwise.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use ureq::Agent;

use super::Failure;
use crate::Host;
use crate::cluster::{Changes, Keeper, KeeperParts, Membership, Registry};
use crate::journal::{JetStreamError, JetStreamJournal, JetStreamOptions, Promise, sync_promise};
use crate::serve::peers::Peers;

/// How long the first attempt after one that found no server waits; each further one twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest that an attempt waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a monitoring endpoint may take for its answer.
const MONITORING: Duration = Duration::from_secs(5);

/// Where the servers are.
#[derive(Clone, Debug, Default)]
pub struct ClusterConfig {
    /// The servers, and what is kept there.
    pub options: JetStreamOptions,
    /// The URLs of the servers' monitoring endpoints, without a path.
    pub monitoring: Vec<String>,
    /// This node's name; none: this machine's.
    pub node: Option<String>,
    /// See [`Membership::lease`]; none: its default.
    pub lease: Option<Duration>,
    /// See [`Membership::moves`]; none: its default.
    pub moves: Option<usize>,
    /// Where other nodes reach this one's listener for clients; none: at its address.
    pub clients: Option<String>,
    /// Where other nodes reach this one's admin listener; none: at its address.
    pub admin: Option<String>,
    /// Whether sources publish changes to NATS.
    pub changes: bool,
}

/// This node's place among the others.
pub struct Place {
    /// Keeps it.
    pub keeper: Keeper,
    /// The others.
    pub peers: Arc<Peers>,
    /// What sources publish, if they do.
    pub changes: Option<Changes>,
}

/// Takes the place, as soon as the servers answer: other nodes can have the host's tenants from now on, and this one theirs.
/// `clients`, `admin`: the listeners' URLs.
///
/// # Errors
///
/// The servers refuse, or no other node could reach this one.
pub async fn take_place(
    config: &ClusterConfig,
    journal: &JetStreamJournal,
    host: &Host,
    clients: String,
    admin: String,
) -> Result<Place, Failure> {
    let clients = reachable("clients-url", config.clients.clone(), clients)?;
    let admin = reachable("admin-url", config.admin.clone(), admin)?;
    let mut membership = Membership::new(config.node.clone().unwrap_or_else(host_name));
    membership.lease = config.lease.unwrap_or(membership.lease);
    membership.moves = config.moves.unwrap_or(membership.moves);
    let registry = patiently(async || Registry::beside(journal).await).await?;
    let changes = match config.changes {
        true => Some(patiently(async || Changes::beside(journal).await).await?),
        false => None,
    };
    let authorities = match &config.options.authorities {
        Some(path) => tokio::fs::read(path).await.with_context(|| path.display().to_string())?,
        None => Vec::new(),
    };
    let keeper = Keeper::start(KeeperParts { host: host.clone(), registry, membership, clients, admin });
    let peers = Arc::new(Peers::new(&keeper, &authorities).context("the way to other nodes")?);
    Ok(Place { keeper, peers, changes })
}

/// What is said, else the listener's own URL, if it leads to one machine.
fn reachable(setting: &str, said: Option<String>, own: String) -> Result<String, Failure> {
    let everywhere = own.contains("://0.0.0.0:") || own.contains("://[::]:");
    match said {
        Some(said) => Ok(said),
        None if everywhere => {
            Err(Failure::Usage(format!("`{setting}` under [cluster] is needed: {own} leads other nodes nowhere")))
        }
        None => Ok(own),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl ClusterConfig {
    /// With these servers instead.
    #[must_use]
    pub fn at(mut self, servers: Vec<String>) -> ClusterConfig {
        self.options.servers = servers;
        self
    }
}

/// Opens the journal, as soon as there are servers to have it, and says what it promises. None: `stopped` came first.
///
/// # Errors
///
/// The servers refuse, or are not what they must be.
pub fn join(
    config: &ClusterConfig,
    runtime: &Runtime,
    stopped: impl Future<Output = ()>,
) -> Result<Option<JetStreamJournal>, Failure> {
    let joined = runtime.block_on(async {
        tokio::select! {
            journal = connect(&config.options) => journal.map(Some),
            () = stopped => Ok(None),
        }
    })?;
    if let Some(journal) = &joined {
        journal.promises().iter().for_each(say);
        synced(&config.monitoring).iter().for_each(say);
    }
    Ok(joined)
}

async fn connect(options: &JetStreamOptions) -> Result<JetStreamJournal, Failure> {
    patiently(async || {
        let options = options.clone();
        let connecting = tokio::task::spawn_blocking(move || JetStreamJournal::connect(options));
        connecting.await.expect("connecting does not panic")
    })
    .await
}

/// Tries again, later and later, as long as no server answers.
async fn patiently<T>(mut work: impl AsyncFnMut() -> Result<T, JetStreamError>) -> Result<T, Failure> {
    let mut pause = PAUSE;
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error @ JetStreamError::Unreachable(_)) => {
                tracing::warn!(%error, seconds = pause.as_secs(), "tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether each server syncs before it acknowledges.
fn synced(monitoring: &[String]) -> Vec<Promise> {
    if monitoring.is_empty() {
        let what = "whether the servers sync before they acknowledge is not known: `monitoring` says where to ask";
        return vec![Promise { kept: false, what: what.into() }];
    }
    let agent: Agent = Agent::config_builder().timeout_global(Some(MONITORING)).build().into();
    monitoring.iter().map(|url| sync_promise(url, &asked(&agent, url))).collect()
}

/// What an endpoint answers; nothing where it does not, which the sentence then says.
fn asked(agent: &Agent, url: &str) -> Vec<u8> {
    let answer = agent.get(format!("{url}/jsz?config=1")).call();
    let answer = answer.and_then(|mut answer| answer.body_mut().read_to_vec());
    answer.unwrap_or_else(|error| {
        tracing::warn!(url, %error, "no answer from a monitoring endpoint");
        Vec::new()
    })
}

fn say(promise: &Promise) {
    match promise.kept {
        true => tracing::info!("promised: {}", promise.what),
        false => tracing::warn!("not promised: {}", promise.what),
    }
}
