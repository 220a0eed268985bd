//! The requests of the admin API, one function for each.

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State as Shared};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http_body_util::{BodyExt, LengthLimitError};
use serde_json::{Value, json};
use tracing::Instrument;
use tracing::field::Empty;

use super::metrics::Outcomes;
use super::refusal::Refusal;
use super::{BODY_BYTES, BODY_TIME, Right, Seat, State, cluster, console, journal, logins, metrics, plugins, tenants};
use crate::ingest::users::Users;
use crate::ingest::{Format, Rejected, Unit, gather, json as changes_json};
use crate::tenant::{IngestError, Ingested, SourceSpan};

/// How much of a body that is too large is read before it is refused.
const PASSED_OVER_BYTES: usize = 4 * BODY_BYTES;

/// The names in a path, or why they cannot be read.
pub(super) type Named<T> = Result<Path<T>, PathRejection>;

pub(super) fn router(state: State) -> Router {
    Router::new()
        .route("/v1/tenants/{tenant}/changes", post(post_changes))
        .route("/v1/tenants/{tenant}/sources/{source}", get(get_source).post(post_source))
        .route("/v1/tenants", get(tenants::get_tenants))
        .route("/v1/tenants/{tenant}", get(tenants::get_tenant).put(tenants::put_tenant).delete(tenants::delete_tenant))
        .route("/v1/journal", get(journal::get_seats))
        .route("/v1/backup", get(journal::get_backup))
        .route("/v1/tenants/{tenant}/backup", get(journal::get_tenant_backup))
        .route("/v1/plugins", get(plugins::get_plugins))
        .route("/v1/tenants/{tenant}/plugin", put(plugins::put_plugin))
        .route("/v1/tenants/{tenant}/rollback", post(plugins::post_rollback))
        .route("/v1/tenants/{tenant}/logins", delete(logins::delete_logins))
        .route("/v1/cluster", get(cluster::get_cluster))
        .route("/v1/cluster/drains/{node}", put(cluster::put_drain).delete(cluster::delete_drain))
        .route("/metrics", get(get_metrics))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(get_ready))
        .merge(console::routes())
        .fallback(async || Refusal::path())
        .method_not_allowed_fallback(async || Refusal::method())
        .layer(from_fn_with_state(state.clone(), cluster::elsewhere))
        .with_state(state)
}

async fn post_changes(
    Shared(state): Shared<State>,
    tenant: Named<String>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let Path(tenant) = tenant.map_err(|error| Refusal::malformed(error.body_text()))?;
    let seat = &state.authorize(request.headers(), &tenant, Right::Ingest)?;
    apply(&state, seat, body(request, BODY_BYTES, Refusal::too_large).await?).await
}

/// Applies the body of such a request.
pub(super) async fn apply(state: &State, seat: &Seat, body: Bytes) -> Result<Json<Value>, Refusal> {
    let now = seat.tenant.now();
    let posting = {
        let body = body.clone();
        aside(move || changes_json::posting(&body, now)).await?
    };
    let origin = posting.source.zip(posting.offset);
    let again = || Ok(changes_json::posting(&body, now)?.units);
    deliver(state, seat, posting.units, again, origin).await
}

async fn post_source(
    Shared(state): Shared<State>,
    names: Named<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let Path((tenant, source)) = names.map_err(|error| Refusal::malformed(error.body_text()))?;
    let seat = &state.authorize(request.headers(), &tenant, Right::Ingest)?;
    let Query { format, offset, map } = Query::read(query.as_deref().unwrap_or_default())?;
    let body = body(request, BODY_BYTES, Refusal::too_large).await?;
    let now = seat.tenant.now();
    let users = Users::new(seat.domains.clone(), map);
    let units = {
        let (body, users) = (body.clone(), users.clone());
        aside(move || format.units(&body, &users, now)).await?
    };
    let origin = offset.map(|offset| (source, offset));
    deliver(&state, seat, units, || Ok(format.units(&body, &users, now)?), origin).await
}

async fn get_source(
    Shared(state): Shared<State>,
    names: Named<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let Path((tenant, source)) = names.map_err(|error| Refusal::malformed(error.body_text()))?;
    let seat = state.authorize(&headers, &tenant, Right::Ingest)?;
    let offset = seat.tenant.source_offset(&source).await?;
    Ok(Json(json!({ "offset": offset })))
}

async fn get_metrics(Shared(state): Shared<State>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&state).await).into_response()
}

/// Whether new clients should come here. That the process is well, `/healthz` says.
async fn get_ready(Shared(state): Shared<State>) -> (StatusCode, &'static str) {
    match state.is_stopping() {
        false => (StatusCode::OK, "ready"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    }
}

/// The query of a `POST` of lines.
struct Query {
    format: Format,
    offset: Option<u64>,
    map: Vec<(String, String)>,
}

impl Query {
    fn read(query: &str) -> Result<Query, Refusal> {
        let (mut format, mut offset, mut map) = (None, None, Vec::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let odd = |expected: &str| Refusal::malformed(format!("{key}={value}: expected {expected}"));
            match &*key {
                "format" => format = Some(Format::named(&value).ok_or_else(|| odd("postbell, cyrus or dovecot"))?),
                "offset" => offset = Some(value.parse().map_err(|_| odd("a number of lines"))?),
                "map" => {
                    let (from, to) = value.split_once('=').ok_or_else(|| odd("FROM=TO"))?;
                    map.push((from.to_owned(), to.to_owned()));
                }
                _ => return Err(Refusal::malformed(format!("{key}: expected format, offset or map"))),
            }
        }
        let format = format.ok_or_else(|| Refusal::malformed("format: expected postbell, cyrus or dovecot"))?;
        Ok(Query { format, offset, map })
    }
}

/// Applies the units and says what became of them. Where the first of them are known, the payload is read `again` and
/// applied without those: that is rare, and cheaper than to keep a copy of every batch for it.
async fn deliver(
    state: &State,
    seat: &Seat,
    units: Vec<Unit>,
    again: impl Fn() -> Result<Vec<Unit>, Refusal>,
    origin: Option<(String, u64)>,
) -> Result<Json<Value>, Refusal> {
    let all = units.len() as u64;
    let trace = tracing::debug_span!(
        target: "postbell::request", "ingest", tenant = seat.tenant.name(), source = Empty, offset = Empty, units = all,
        sequence = Empty,
    );
    if let Some((source, offset)) = &origin {
        trace.record("source", &**source).record("offset", offset);
    }
    let (mut units, mut skipped) = (units, 0);
    loop {
        let span = origin.as_ref().map(|(source, offset)| SourceSpan {
            source: source.clone(),
            offset: offset + skipped,
            length: all - skipped,
        });
        let (batch, ledger) = gather(units);
        match seat.tenant.ingest(batch, span).instrument(trace.clone()).await {
            Ok(Ingested { rejections, sequence, repeated }) => {
                trace.record("sequence", sequence);
                let rejected = if repeated { Vec::new() } else { ledger.rejected(&rejections) };
                let refused = distinct(&rejected);
                let repeated = if repeated { all } else { skipped };
                let outcomes = Outcomes { accepted: all - repeated - refused, rejected: refused, repeated };
                state.0.counters.add(seat.tenant.name(), outcomes);
                return Ok(Json(answer(all - refused, &rejected, sequence)));
            }
            Err(IngestError::Overlap { known }) if known > 0 && known <= all - skipped => {
                skipped += known;
                units = again()?.split_off(skipped as usize);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn answer(accepted: u64, rejected: &[Rejected], sequence: u64) -> Value {
    let rejected: Vec<Value> = rejected
        .iter()
        .map(|it| json!({ "list": it.mark.list, "position": it.mark.position, "reason": it.reason }))
        .collect();
    json!({ "accepted": accepted, "rejected": rejected, "sequence": sequence })
}

/// How many units these are: a line of several changes may be rejected for each of them. (They are sorted.)
fn distinct(rejected: &[Rejected]) -> u64 {
    rejected.chunk_by(|one, next| one.mark == next.mark).count() as u64
}

/// Reads a body of at most so many bytes.
pub(super) async fn body(request: Request, most: usize, too_large: fn() -> Refusal) -> Result<Bytes, Refusal> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        if !request.headers().contains_key(EXPECT) {
            pass_over(request.into_body()).await;
        }
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), most)).await {
        Err(_) => Err(Refusal::too_slow()),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if std::error::Error::source(&error).is_some_and(|it| it.is::<LengthLimitError>()) => {
            Err(too_large())
        }
        Ok(Err(error)) => Err(Refusal::malformed(format!("the body ends early: {error}"))),
    }
}

/// Reads a body that is refused, up to a limit: a sender that still writes when the connection is closed does not get to
/// read the refusal.
async fn pass_over(mut body: Body) {
    let mut left = PASSED_OVER_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // The answer is the same, whichever of the limits is met first.
    let _ = tokio::time::timeout(BODY_TIME, reading).await;
}

/// Runs what takes long for a large body off the network threads.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
