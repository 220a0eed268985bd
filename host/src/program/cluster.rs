//! The NATS servers that keep what a data directory keeps otherwise.

use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use ureq::Agent;

use super::Failure;
use crate::journal::{JetStreamError, JetStreamJournal, JetStreamOptions, Promise, sync_promise};

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
    let mut pause = PAUSE;
    loop {
        let options = options.clone();
        let connecting = tokio::task::spawn_blocking(move || JetStreamJournal::connect(options));
        match connecting.await.context("connecting to NATS")? {
            Ok(journal) => return Ok(journal),
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
