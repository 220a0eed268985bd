//! What operators do with plugins: see which tenant runs what, have another version take over, go back.
//!
//! A swap answers with lines, see [`Line`]; the last one is `done` or `refused`. Who closes the connection before the
//! component has taken over gives the swap up: the tenant goes on as it was.

pub mod line;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::line::{Line, Wrong};
use super::api::{Named, aside, body};
use super::keys::bearer;
use super::refusal::Refusal;
use super::{COMPONENT_BYTES, Right, State};
use crate::plugin::Plugin;
use crate::tenant::{OnDifference, Shadow, Step, SwapEvent, SwapOptions, Swapping, Tenant, Version};

/// The header that holds a component's detached signature: what `minisign -S` writes, in base64.
pub const SIGNATURE: &str = "postbell-signature";

/// How long a swap is silent at most: its client knows then that it goes on.
const SILENCE: Duration = Duration::from_secs(10);

/// How many lines may wait for the client.
const LINES_WAITING: usize = 64;

/// Which tenant runs what.
#[derive(Debug, Serialize, Deserialize)]
pub struct PluginListing {
    /// In the order of their names; one with several plugins comes once for each.
    pub tenants: Vec<TenantListing>,
}

/// What a tenant runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantListing {
    /// The tenant's name.
    pub tenant: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// SHA-256 of its component, in hexadecimal digits.
    pub sha256: String,
    /// Since when it runs this component, in milliseconds since the Unix epoch; 0: from the beginning.
    pub since: u64,
    /// The component before, which it can go back to.
    pub previous: Option<String>,
    /// It was gone back to.
    pub back: bool,
    /// How often it failed since, or since the server's start.
    pub faults: u64,
}

impl TenantListing {
    pub(super) fn of(tenant: &Tenant) -> TenantListing {
        let Version { plugin, tenure, faults } = tenant.version();
        TenantListing {
            tenant: tenant.name().to_owned(),
            plugin: plugin.manifest().name.clone(),
            version: plugin.manifest().version.clone(),
            sha256: plugin.id().to_string(),
            since: tenure.since_now,
            previous: tenure.previous.map(|former| former.component.to_string()),
            back: tenure.back,
            faults,
        }
    }
}

pub(super) async fn get_plugins(
    Shared(state): Shared<State>,
    headers: HeaderMap,
) -> Result<Json<PluginListing>, Refusal> {
    state.authorize_all(&headers)?;
    let tenants = state.tenants();
    let tenants = tenants.seats.values().flat_map(|seat| seat.tenant.seats().map(|seat| TenantListing::of(&seat)));
    let tenants = tenants.collect();
    Ok(Json(PluginListing { tenants }))
}

pub(super) async fn put_plugin(
    Shared(state): Shared<State>,
    tenant: Named<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let key = bearer(request.headers()).map(str::to_owned);
    swap(state, key.as_deref(), tenant, query, request).await
}

/// As the request has it, for whoever has this key.
pub(super) async fn swap(
    state: State,
    key: Option<&str>,
    tenant: Named<String>,
    query: Option<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let Path(tenant) = tenant.map_err(|error| Refusal::malformed(error.body_text()))?;
    let seat = state.authorize_key(key, &tenant, Right::Administer)?;
    let (options, signature) = (options(query.as_deref().unwrap_or_default())?, signature(request.headers())?);
    let component = body(request, COMPONENT_BYTES, Refusal::component_too_large).await?;
    let (tenant, admission) = (seat.tenant.clone(), state.0.admission.clone());
    Ok(lines(async move |out: Out| {
        out.line(SwapEvent::Step(Step::Prepare).into()).await?;
        let admitted = aside(move || admission.uploaded(&component, signature.as_deref())).await;
        match admitted {
            Ok(plugin) => match tenant.seat_of(&plugin.manifest().name) {
                Some(seat) => out.swap(seat.swap(&plugin, options)).await,
                None => out.line(Line::not_begun(other_plugin(&tenant, &plugin), Wrong::OtherPlugin)).await,
            },
            Err(error) => out.line(Line::not_begun(error.to_string(), Wrong::Plugin)).await,
        }
    }))
}

fn other_plugin(tenant: &Tenant, plugin: &Plugin) -> String {
    let runs: Vec<String> = tenant.seats().map(|seat| seat.plugin().manifest().name.clone()).collect();
    format!("it is the plugin {}, and the tenant runs {}", plugin.manifest().name, runs.join(" and "))
}

/// With `plugin=NAME` of a tenant that has several; else it is the first.
pub(super) async fn post_rollback(
    Shared(state): Shared<State>,
    tenant: Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut plugin = None;
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "plugin" => plugin = Some(value.into_owned()),
            _ => return Err(Refusal::malformed(format!("{key}: expected plugin"))),
        }
    }
    roll_back(state, bearer(&headers), tenant, plugin)
}

/// Lets the version before come back, for whoever has this key.
pub(super) fn roll_back(
    state: State,
    key: Option<&str>,
    tenant: Named<String>,
    plugin: Option<String>,
) -> Result<Response, Refusal> {
    let Path(tenant) = tenant.map_err(|error| Refusal::malformed(error.body_text()))?;
    let tenant = state.authorize_key(key, &tenant, Right::Administer)?.tenant.clone();
    let seat = match plugin {
        None => tenant,
        Some(plugin) => tenant.seat_of(&plugin).ok_or_else(|| Refusal::plugin(tenant.name(), &plugin))?,
    };
    Ok(lines(async move |out: Out| {
        out.line(SwapEvent::Step(Step::Prepare).into()).await?;
        match seat.roll_back().await {
            Ok(swapping) => out.swap(swapping).await,
            Err(error) => out.line(Line::refused(error)).await,
        }
    }))
}

fn options(query: &str) -> Result<SwapOptions, Refusal> {
    let mut options = SwapOptions::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let odd = |expected: &str| Refusal::malformed(format!("{key}={value}: expected {expected}"));
        match &*key {
            "shadow" => {
                let inputs = || Some(Shadow::Inputs(value.parse().ok()?));
                let time = || Some(Shadow::Milliseconds(value.strip_suffix("ms")?.parse().ok()?));
                let shadow =
                    inputs().or_else(time).ok_or_else(|| odd("a number of inputs, or milliseconds as 500ms"))?;
                options.shadow = Some(shadow);
            }
            "on-difference" => {
                options.on_difference = match &*value {
                    "refuse" => OnDifference::Refuse,
                    "report" => OnDifference::Report,
                    _ => return Err(odd("refuse or report")),
                }
            }
            "fresh" => options.fresh = value.parse().map_err(|_| odd("true or false"))?,
            _ => return Err(Refusal::malformed(format!("{key}: expected shadow, on-difference or fresh"))),
        }
    }
    Ok(options)
}

fn signature(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(header) = headers.get(SIGNATURE) else { return Ok(None) };
    let text = STANDARD.decode(header).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(|| Refusal::malformed(format!("{SIGNATURE}: expected a signature's text in base64")))
}

/// The client is gone.
struct Gone;

/// Where lines go.
struct Out(Sender<Bytes>);

impl Out {
    async fn line(&self, line: Line) -> Result<(), Gone> {
        let mut text = serde_json::to_vec(&line).expect("a line is made of numbers and text");
        text.push(b'\n');
        self.0.send(text.into()).await.map_err(|_| Gone)
    }

    /// Says how a swap comes along; given up if nobody listens.
    async fn swap(&self, mut swapping: Swapping) -> Result<(), Gone> {
        // It was said before the component was compiled.
        let said = SwapEvent::Step(Step::Prepare);
        loop {
            let event = tokio::select! {
                event = tokio::time::timeout(SILENCE, swapping.next()) => event,
                () = self.0.closed() => return Err(Gone),
            };
            match event {
                Ok(Some(event)) if event == said => {}
                Ok(Some(event)) => self.line(event.into()).await?,
                Ok(None) => break,
                Err(_) => self.line(Line::Waiting { seconds: SILENCE.as_secs() }).await?,
            }
        }
        self.line(swapping.end().await.map_or_else(Line::refused, Line::from)).await
    }
}

/// An answer of lines, as they come to be.
fn lines<F>(work: impl FnOnce(Out) -> F) -> Response
where
    F: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (sender, lines) = channel(LINES_WAITING);
    let work = work(Out(sender));
    tokio::spawn(async move {
        // Who is gone needs no more lines.
        let _ = work.await;
    });
    (StatusCode::OK, [(CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(lines))).into_response()
}

/// The body of an answer of lines.
struct Lines(Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_to_swap() {
        let of = |query| options(query).map_err(|_| ());
        let all = of("shadow=1000&on-difference=report&fresh=true").expect("it is well formed");
        assert_eq!(
            (all.shadow, all.on_difference, all.fresh),
            (Some(Shadow::Inputs(1000)), OnDifference::Report, true)
        );
        assert_eq!(of("shadow=500ms").expect("a time").shadow, Some(Shadow::Milliseconds(500)));
        for wrong in ["shadow=x", "shadow=5m", "on-difference=x", "fresh=1", "other=1"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
