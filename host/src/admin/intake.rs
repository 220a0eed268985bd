//! Changes that sources publish to NATS: the node that has a tenant takes the tenant's, as if they were posted to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use axum::http::StatusCode;
use futures_util::StreamExt;
use tokio::task::{AbortHandle, JoinSet};

use super::{State, api};
use crate::cluster::{Changes, Keeper};

/// How long to wait before something that may have passed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes them for as long as this runs.
pub async fn run(state: State, keeper: Keeper, changes: Changes) {
    let (mut here, mut taking) = (keeper.here(), JoinSet::new());
    let mut tenants: BTreeMap<String, AbortHandle> = BTreeMap::new();
    loop {
        let wanted: BTreeSet<String> = here.borrow_and_update().keys().cloned().collect();
        tenants.retain(|tenant, task| {
            let stays = wanted.contains(tenant);
            if !stays {
                task.abort();
            }
            stays
        });
        for tenant in &wanted {
            let take = || taking.spawn(take(state.clone(), tenant.clone(), changes.clone()));
            tenants.entry(tenant.clone()).or_insert_with(take);
        }
        if here.changed().await.is_err() {
            return;
        }
        while taking.try_join_next().is_some() {}
    }
}

async fn take(state: State, tenant: String, changes: Changes) {
    loop {
        match changes.of(&tenant).await {
            Ok(mut messages) => {
                while let Some(Ok(message)) = messages.next().await {
                    handle(&state, &tenant, message).await;
                }
            }
            Err(error) => tracing::warn!(tenant, error, "the changes that sources publish cannot be read; tried again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Applies a message. What is wrong with it will not be right the next time: it is dropped, and said.
async fn handle(state: &State, tenant: &str, message: Message) {
    let seat = state.tenants().seats.get(tenant).cloned();
    let Some(seat) = seat else { return };
    let kind = match api::apply(state, &seat, message.payload.clone()).await {
        Ok(_) => AckKind::Ack,
        Err(refusal) if refusal.status() == StatusCode::SERVICE_UNAVAILABLE => AckKind::Nak(Some(AGAIN)),
        Err(refusal) => {
            let sequence = message.info().map(|info| info.stream_sequence).unwrap_or_default();
            tracing::error!(tenant, sequence, why = refusal.message(), "a message of a source's was not applied");
            AckKind::Term
        }
    };
    if let Err(error) = message.ack_with(kind).await {
        tracing::warn!(tenant, %error, "a message that was applied comes again, which changes nothing");
    }
}
