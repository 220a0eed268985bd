//! The logins of a tenant's clients: ended, of one account or of all.

use axum::Json;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::api::Named;
use super::refusal::Refusal;
use super::{Right, State};

/// With `account=NAME` those of that account. Tokens stop to count, and passwords are verified again.
pub(super) async fn delete_logins(
    Shared(state): Shared<State>,
    name: Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let Path(name) = name.map_err(|error| Refusal::malformed(error.body_text()))?;
    let seat = state.authorize(&headers, &name, Right::Administer)?;
    let account = account(query.as_deref().unwrap_or_default())?;
    seat.logins.end(account.as_deref());
    tracing::info!(tenant = name, account, "logins were ended");
    Ok(Json(json!({ "tenant": name, "account": account })))
}

fn account(query: &str) -> Result<Option<String>, Refusal> {
    let mut account = None;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "account" if !value.is_empty() && account.is_none() => account = Some(value.into_owned()),
            _ => return Err(Refusal::malformed(format!("{key}={value}: expected account=NAME, once"))),
        }
    }
    Ok(account)
}
