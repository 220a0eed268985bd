//! Several processes that could serve the same tenants: which of them has which, said in a bucket of NATS.
//!
//! | key               | value                                                                                    |
//! | ----------------- | ---------------------------------------------------------------------------------------- |
//! | `nodes.<node>`    | [`Node`]: a process that serves. Written anew with every beat, over its own last revision |
//! | `tenants.<tenant>`| [`Owner`]: which life of which node has the tenant, and who is to have it next            |
//! | `drains.<node>`   | its tenants are to go to other nodes                                                      |
//!
//! A node's leases last from the moment before its last beat was sent, shorter than the others wait. Whoever has seen the
//! same revision of a node's key for that long, by the time since its own machine's start, removes just that revision: if
//! that succeeds, there was no beat since, and no lease is left. A node that finds its key removed has lost everything, and
//! comes again as another life of itself. No lease depends on what two clocks say, and no lock is held. Clocks that are apart
//! are told of all the same: a tenant that moves to a clock that is ahead finds what it waits for overdue.
//!
//! All this is a hint. What is appended for a tenant is fenced by the journal, whoever believes to have it.

mod changes;
mod keeper;
mod ownership;
mod placement;
mod registry;
mod view;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use changes::Changes;
pub use keeper::{Keeper, KeeperParts, Kept, Stay};
pub use registry::{Registry, RegistryError};
pub use view::{Peer, Shared, Status, TenantStatus, View, is_apart};

/// How a process takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Its name, which no other process has.
    pub node: String,
    /// How long it may answer for its tenants after a beat was sent.
    pub lease: Duration,
    /// How many of its tenants may be on their way to other nodes at a time, while it lives.
    pub moves: usize,
}

impl Membership {
    /// Eight seconds, four moves at a time.
    pub fn new(node: impl Into<String>) -> Membership {
        Membership { node: node.into(), lease: Duration::from_secs(8), moves: 4 }
    }

    /// How often the node says that it lives.
    fn beat(&self) -> Duration {
        self.lease / 4
    }

    /// How long the others wait for its next beat before they take its tenants, in milliseconds: longer than any lease.
    fn patience(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX).saturating_mul(3) / 2
    }
}

/// A process that serves, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Node {
    /// Tells this life of the node from every other.
    pub incarnation: u64,
    /// Where it serves clients, for the other nodes: a URL without a path.
    pub clients: String,
    /// Where it serves sources and operators, likewise.
    pub admin: String,
    /// Whoever knows this is another node.
    pub secret: String,
    /// How many tenants it has now.
    pub tenants: u64,
    /// Inputs that it was given and has not committed.
    pub uncommitted: u64,
    /// How many tenants it has given to other nodes in this life.
    pub moves: u64,
    /// What its clock said at this beat, in milliseconds since the Unix epoch.
    pub clock: u64,
}

/// Who has a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Owner {
    /// The node's name.
    pub node: String,
    /// Its life.
    pub incarnation: u64,
    /// The node that is to have it next, and prepares for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The next one is prepared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
}
