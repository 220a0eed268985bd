//! The console: pages for operators on the admin listener, rendered here. Who logs in with an admin key sees what the key
//! is good for, and may do there what the key may: `/console/`.
//!
//! A session is a cookie that no other site's page can send (`SameSite=Strict`); pages load nothing from elsewhere, and no
//! script but their own (`Content-Security-Policy`).

mod pages;
mod plot;
mod samples;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State as Shared};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use maud::Markup;
use zeroize::Zeroizing;

use self::pages::{Detail, Entry, Row, Selection};
use self::samples::{Done, Samples};
use self::sessions::Sessions;
use super::api::{Named, aside, body};
use super::cluster::ClusterListing;
use super::plugins::{self, TenantListing};
use super::refusal::Refusal;
use super::{Right, Seat, State};
use crate::journal::archive::Item;
use crate::journal::{Journal, JournalError, Record, records};
use crate::program::{replay, shown};
use crate::{Statistics, journal};

/// How many tenants are on one page.
const OF_A_PAGE: usize = 100;

/// How many inputs are shown of the end of a journal.
const TAIL: u64 = 40;

/// The most bytes of a login's form.
const FORM_BYTES: usize = 4096;

/// What pages may load, and who may show them.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What the console itself knows.
#[derive(Default)]
pub(super) struct Console {
    sessions: Sessions,
    samples: Samples,
}

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/console", get(async || to("/console/")))
        .route("/console/", get(get_overview))
        .route("/console/login", get(get_login).post(post_login))
        .route("/console/logout", post(post_logout))
        .route("/console/tenants/{tenant}", get(get_tenant))
        .route("/console/tenants/{tenant}/journal/{sequence}", get(get_input))
        .route("/console/tenants/{tenant}/plugin", put(put_plugin))
        .route("/console/tenants/{tenant}/rollback", post(post_rollback))
        .route("/console/style.css", get(async || file("text/css; charset=utf-8", include_str!("style.css"))))
        .route("/console/console.js", get(async || file("text/javascript; charset=utf-8", include_str!("console.js"))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

fn page(status: StatusCode, page: Markup) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("referrer-policy"), "same-origin"),
    ];
    (status, headers, page.into_string()).into_response()
}

fn to(place: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
}

fn missing(what: &str) -> Response {
    page(StatusCode::NOT_FOUND, pages::problem("Not found", what))
}

impl State {
    fn console_key(&self, headers: &HeaderMap) -> Option<Zeroizing<String>> {
        self.0.console.sessions.key(headers, self.0.clock.monotonic())
    }

    /// The tenants that a key is good for, in the order of their names.
    fn visible(&self, key: &str) -> Vec<Arc<Seat>> {
        let for_all = self.is_administrator(key);
        let tenants = self.tenants();
        tenants.seats.values().filter(|seat| for_all || seat.gives(key, Right::Administer)).cloned().collect()
    }

    /// The tenant of this name, for whoever has logged in with a key that is good for it.
    fn seen(&self, headers: &HeaderMap, name: &str) -> Option<Arc<Seat>> {
        let key = self.console_key(headers)?;
        self.authorize_key(Some(&key), name, Right::Administer).ok()
    }

    fn sample(&self) {
        let done = |statistics: &Statistics| {
            let count = |kind| statistics.inputs.get(kind).copied().unwrap_or_default();
            Done { batches: count("ingest"), requests: count("answer") }
        };
        let tenants = || {
            let tenants = self.tenants();
            tenants.seats.iter().map(|(name, seat)| (name.clone(), done(&seat.tenant.statistics()))).collect()
        };
        self.0.console.samples.take(self.0.clock.monotonic(), tenants, || self.0.host.timings().wake());
    }

    fn row(&self, seat: &Seat, statistics: &Statistics) -> Row {
        Row {
            runs: TenantListing::of(&seat.tenant),
            parked: statistics.open_requests,
            asleep: statistics.asleep > 0,
            faults: statistics.faults.values().sum(),
            rates: self.0.console.samples.rates(seat.tenant.name()),
        }
    }
}

async fn get_login() -> Response {
    page(StatusCode::OK, pages::login(false))
}

async fn post_login(Shared(state): Shared<State>, request: Request) -> Result<Response, Refusal> {
    let form = body(request, FORM_BYTES, Refusal::form_too_large).await?;
    let key =
        form_urlencoded::parse(&form).find(|(name, _)| name == "key").map(|(_, key)| Zeroizing::new(key.into_owned()));
    let good = |key: &&Zeroizing<String>| state.is_administrator(key) || !state.visible(key).is_empty();
    let Some(key) = key.as_ref().filter(good) else {
        return Ok(page(StatusCode::UNAUTHORIZED, pages::login(true)));
    };
    match state.0.console.sessions.begin(key, state.0.clock.monotonic()) {
        Ok(cookie) => Ok(([(SET_COOKIE, cookie)], to("/console/")).into_response()),
        Err(error) => Ok(page(StatusCode::SERVICE_UNAVAILABLE, pages::problem("No session", &error.to_string()))),
    }
}

async fn post_logout(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    ([(SET_COOKIE, state.0.console.sessions.end(&headers))], to("/console/login")).into_response()
}

async fn get_overview(Shared(state): Shared<State>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let Some(key) = state.console_key(&headers) else { return to("/console/login") };
    state.sample();
    let query: BTreeMap<_, _> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    let search = query.get("search").cloned().unwrap_or_default();
    let mut seats = state.visible(&key);
    if seats.is_empty() && !state.is_administrator(&key) {
        return to("/console/login");
    }
    seats.retain(|seat| seat.tenant.name().contains(&search));
    let after = query.get("after").and_then(|after| after.parse().ok()).unwrap_or(0).min(seats.len());
    let shown = seats.iter().skip(after).take(OF_A_PAGE);
    let rows: Vec<_> = shown.map(|seat| state.row(seat, &seat.tenant.statistics())).collect();
    let selection = Selection { search, after, all: seats.len() };
    let nodes = state.place().ok().filter(|_| state.is_administrator(&key));
    let nodes = nodes.map_or_else(Vec::new, |place| ClusterListing::of(&place.keeper).nodes);
    page(StatusCode::OK, pages::overview(&rows, &selection, &state.0.console.samples.waited(), &nodes))
}

async fn get_tenant(Shared(state): Shared<State>, name: Named<String>, headers: HeaderMap) -> Response {
    let Ok(Path(name)) = name else { return missing("no such tenant") };
    if state.console_key(&headers).is_none() {
        return to("/console/login");
    }
    let Some(seat) = state.seen(&headers, &name) else { return missing("no such tenant") };
    state.sample();
    let statistics = seat.tenant.statistics();
    // To be looked at is no reason to wake.
    let gauges = if statistics.asleep > 0 { vec![] } else { seat.tenant.inspect().await };
    let gauges = gauges.into_iter().map(|gauge| {
        let labels: String = gauge.labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        (gauge.name + &labels, gauge.value)
    });
    let counted =
        |counts: &BTreeMap<&'static str, u64>| counts.iter().map(|(word, count)| ((*word).into(), *count)).collect();
    let detail = Detail {
        row: state.row(&seat, &statistics),
        sequence: statistics.sequence,
        snapshot: statistics.snapshot,
        uncommitted: statistics.uncommitted,
        memory: statistics.memory,
        faults: counted(&statistics.faults),
        refusals: counted(&statistics.refusals),
        gauges: gauges.collect(),
    };
    let journal = state.0.journal.clone();
    match aside(move || tail(&*journal, &seat)).await {
        Ok(tail) => page(StatusCode::OK, pages::tenant(&detail, &tail)),
        Err(error) => page(StatusCode::SERVICE_UNAVAILABLE, pages::problem("No journal", &error.to_string())),
    }
}

fn seat_of(seat: &Seat) -> journal::Seat {
    let plugin = seat.tenant.plugin().manifest().name.as_str().into();
    journal::Seat { tenant: seat.tenant.name().into(), plugin, partition: 0 }
}

/// The last inputs, the newest first.
fn tail(journal: &dyn Journal, seat: &Seat) -> Result<Vec<Entry>, JournalError> {
    let seat = seat_of(seat);
    let Some(facts) = journal.facts(&seat)? else { return Ok(vec![]) };
    let first = facts.last.saturating_sub(TAIL - 1).max(facts.horizon() + 1);
    let mut entries = Vec::new();
    for record in records(journal, &seat, first, facts.last) {
        let record = record?;
        entries.push(Entry { sequence: record.sequence, line: shown::item_in_brief(&Item::Record(record)) });
    }
    entries.reverse();
    Ok(entries)
}

async fn get_input(Shared(state): Shared<State>, names: Named<(String, u64)>, headers: HeaderMap) -> Response {
    let Ok(Path((name, sequence))) = names else { return missing("no such input") };
    if state.console_key(&headers).is_none() {
        return to("/console/login");
    }
    let Some(seat) = state.seen(&headers, &name) else { return missing("no such tenant") };
    let Ok(place) = state.0.archives.clone().try_acquire_owned() else {
        let why = "The journal is being read for others; try again.";
        return page(StatusCode::SERVICE_UNAVAILABLE, pages::problem("Busy", why));
    };
    let journal = state.0.journal.clone();
    let found = aside(move || {
        let _place = place;
        let (of, plugin) = (seat_of(&seat), seat.tenant.plugin());
        let found = records(&*journal, &of, sequence, sequence).next().transpose()?;
        Ok::<_, JournalError>(found.map(|record| {
            let caused = replay::caused(journal, of.clone(), &plugin, sequence);
            (item(&of, record), caused.map(|reaction| shown::reaction(&reaction)))
        }))
    });
    match found.await {
        Ok(Some((given, caused))) => page(StatusCode::OK, pages::input(&name, sequence, &given, &caused)),
        Ok(None) => missing("The journal does not have this input any more, or not yet."),
        Err(error) => page(StatusCode::SERVICE_UNAVAILABLE, pages::problem("No journal", &error.to_string())),
    }
}

fn item(seat: &journal::Seat, record: Record) -> serde_json::Value {
    shown::item(seat, &Item::Record(record))
}

async fn put_plugin(
    Shared(state): Shared<State>,
    tenant: Named<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let key = state.console_key(request.headers());
    plugins::swap(state, key.as_deref().map(String::as_str), tenant, query, request).await
}

async fn post_rollback(
    Shared(state): Shared<State>,
    tenant: Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let key = state.console_key(&headers);
    plugins::roll_back(state, key.as_deref().map(String::as_str), tenant, None)
}
