//! The nodes of a cluster, and which has which tenant. What concerns a tenant of another node's goes on to that one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::State;
use super::api::Named;
use super::refusal::Refusal;
use crate::clock::since_boot;
use crate::cluster::{Keeper, Peer, Status, TenantStatus};
use crate::serve::peers::Peers;

/// What there is below a tenant that its owner alone can answer.
const OF_THE_OWNER: [&str; 4] = ["changes", "sources", "plugin", "rollback"];

/// This node's place among the others.
pub(super) struct Place {
    pub(super) keeper: Keeper,
    pub(super) peers: Arc<Peers>,
}

/// `GET /v1/cluster`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClusterListing {
    /// The node that was asked.
    pub node: String,
    /// All of them, as it sees them.
    pub nodes: Vec<NodeListing>,
    /// Every tenant that ever had an owner.
    pub tenants: Vec<Placed>,
}

/// One node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeListing {
    /// Its name.
    pub node: String,
    /// Where it serves clients.
    pub clients: String,
    /// Where it serves sources and operators.
    pub admin: String,
    /// How long ago its last beat was seen, in milliseconds.
    pub silent_ms: u64,
    /// How far its clock is ahead of that of the node that was asked, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Its tenants are to go to others.
    pub draining: bool,
    /// How many tenants it had at its last beat.
    pub tenants: u64,
    /// Inputs that it was given and had not committed then: how far it lags behind what it is sent.
    pub uncommitted: u64,
    /// How many tenants it has given to others.
    pub moves: u64,
}

/// Where a tenant is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Placed {
    /// Its name.
    pub tenant: String,
    /// The node that has it; none: that is gone, and no other has taken it.
    pub node: Option<String>,
    /// The node that is to have it, as the nodes are now.
    pub home: Option<String>,
    /// The node that prepares for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ClusterListing {
    pub(super) fn of(keeper: &Keeper) -> ClusterListing {
        let view = keeper.view().read().expect("nothing panics while this lock is held");
        let node = |Status { name, node, silent, ahead, drains }| NodeListing {
            node: name,
            clients: node.clients,
            admin: node.admin,
            silent_ms: silent,
            clock_ahead_ms: ahead,
            draining: drains,
            tenants: node.tenants,
            uncommitted: node.uncommitted,
            moves: node.moves,
        };
        let placed = |TenantStatus { tenant, owner, home }| {
            let (node, next) = owner.map_or((None, None), |owner| (Some(owner.node), owner.next));
            Placed { tenant, node, home, next }
        };
        let nodes = view.nodes(since_boot().unwrap_or_default());
        ClusterListing {
            node: view.node().to_owned(),
            nodes: nodes.into_iter().map(node).collect(),
            tenants: view.tenants().into_iter().map(placed).collect(),
        }
    }
}

pub(super) async fn get_cluster(
    Shared(state): Shared<State>,
    headers: HeaderMap,
) -> Result<Json<ClusterListing>, Refusal> {
    state.authorize_all(&headers)?;
    Ok(Json(ClusterListing::of(&state.place()?.keeper)))
}

pub(super) async fn put_drain(
    Shared(state): Shared<State>,
    node: Named<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    drain(&state, node, &headers, true).await
}

pub(super) async fn delete_drain(
    Shared(state): Shared<State>,
    node: Named<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    drain(&state, node, &headers, false).await
}

async fn drain(state: &State, node: Named<String>, headers: &HeaderMap, drains: bool) -> Result<Json<Value>, Refusal> {
    let Path(node) = node.map_err(|error| Refusal::malformed(error.body_text()))?;
    state.authorize_all(headers)?;
    let keeper = &state.place()?.keeper;
    let known = keeper.view().read().expect("nothing panics while this lock is held").has_node(&node);
    if drains && !known {
        return Err(Refusal::node(&node));
    }
    keeper.drain(&node, drains).await.map_err(|error| Refusal::registry(&error))?;
    Ok(Json(json!({ "node": node, "draining": drains })))
}

/// Hands on what another node is to answer.
pub(super) async fn elsewhere(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    match owner(&state, &request) {
        Some((peers, peer)) => {
            let answered = peers.ask_admin(peer, request).await;
            answered.unwrap_or_else(|| Refusal::from(crate::tenant::IngestError::Moved).into_response())
        }
        None => next.run(request).await,
    }
}

fn owner<'a>(state: &'a State, request: &Request) -> Option<(&'a Peers, Peer)> {
    let Place { peers, .. } = state.place().ok()?;
    if peers.sent(request.headers()) {
        return None;
    }
    let (tenant, below) = request.uri().path().strip_prefix("/v1/tenants/")?.split_once('/')?;
    if !OF_THE_OWNER.contains(&below.split('/').next()?) {
        return None;
    }
    let tenant = percent_decode_str(tenant).decode_utf8().ok()?;
    Some((peers, peers.owner(&tenant)?))
}
