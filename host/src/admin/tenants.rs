//! The tenants themselves: which there are, a new one, another form of one, one less.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::api::{Named, body};
use super::refusal::Refusal;
use super::{BODY_BYTES, Right, State};
use crate::program::config::TenantConfig;
use crate::program::tenants::{ChangeError, Changed, Tenants};
use crate::tenant::Tenant;

pub(super) async fn get_tenants(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    state.authorize_all(&headers)?;
    let known = state.managed()?.known().await;
    let tenants: Vec<Value> = known.values().map(|(config, tenant)| described(config, tenant)).collect();
    Ok(Json(json!({ "tenants": tenants })))
}

pub(super) async fn get_tenant(
    Shared(state): Shared<State>,
    name: Named<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let Path(name) = name.map_err(|error| Refusal::malformed(error.body_text()))?;
    state.authorize(&headers, &name, Right::Administer)?;
    let known = state.managed()?.known().await;
    let (config, tenant) = known.get(&name).ok_or_else(|| Refusal::tenant(&name))?;
    Ok(Json(described(config, tenant)))
}

/// The body is what a `[[tenant]]` of the configuration holds, without its name.
pub(super) async fn put_tenant(
    Shared(state): Shared<State>,
    name: Named<String>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let Path(name) = name.map_err(|error| Refusal::malformed(error.body_text()))?;
    state.authorize_all(request.headers())?;
    let body = body(request, BODY_BYTES, Refusal::too_large).await?;
    let table = serde_json::from_slice(&body).map_err(|error| Refusal::malformed(error.to_string()))?;
    let tenants = state.managed()?.clone();
    // Whoever asked may be gone before it is done: it is done as a whole all the same.
    let changed = done(tokio::spawn({
        let name = name.clone();
        async move { tenants.put(&name, table).await }
    }))
    .await?;
    state.publish(changed);
    let known = state.managed()?.known().await;
    let (config, tenant) = known.get(&name).ok_or_else(|| Refusal::tenant(&name))?;
    Ok(Json(described(config, tenant)))
}

/// With `purge=true` nothing is kept of it.
pub(super) async fn delete_tenant(
    Shared(state): Shared<State>,
    name: Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let Path(name) = name.map_err(|error| Refusal::malformed(error.body_text()))?;
    state.authorize_all(&headers)?;
    let purge = match query.as_deref() {
        None | Some("" | "purge=false") => false,
        Some("purge=true") => true,
        Some(other) => return Err(Refusal::malformed(format!("{other}: expected purge=true or purge=false"))),
    };
    let tenants: Tenants = state.managed()?.clone();
    let changed = done(tokio::spawn({
        let name = name.clone();
        async move { tenants.remove(&name, purge).await }
    }))
    .await?;
    state.publish(changed);
    Ok(Json(json!({ "tenant": name, "purged": purge })))
}

async fn done(work: tokio::task::JoinHandle<Result<Changed, ChangeError>>) -> Result<Changed, Refusal> {
    let done = work.await.map_err(|error| ChangeError::Failed(error.to_string()));
    done.and_then(|done| done).map_err(Refusal::change)
}

/// Without keys and users.
fn described(config: &TenantConfig, tenant: &Tenant) -> Value {
    let (version, figures) = (tenant.version(), tenant.statistics());
    let settings: serde_json::Map<String, Value> =
        config.settings.iter().map(|setting| (setting.key.clone(), Value::from(&*setting.value))).collect();
    let seats = tenant.seats().map(|seat| {
        let (plugin, figures) = (seat.plugin(), seat.statistics());
        let manifest = plugin.manifest();
        let (sha256, sequence) = (plugin.id().to_string(), figures.sequence);
        json!({ "plugin": manifest.name, "version": manifest.version, "sha256": sha256, "sequence": sequence })
    });
    json!({
        "tenant": config.name,
        "from": if config.stored { "request" } else { "configuration" },
        "hosts": config.hosts,
        "domains": config.domains,
        "settings": settings,
        "users": config.users.users().len(),
        "plugin": version.plugin.manifest().name,
        "version": version.plugin.manifest().version,
        "sha256": version.plugin.id().to_string(),
        "seats": seats.collect::<Vec<_>>(),
        "asleep": figures.asleep > 0,
        "open-requests": figures.open_requests,
        "sequence": figures.sequence,
        "faults": figures.faults.values().sum::<u64>(),
    })
}
