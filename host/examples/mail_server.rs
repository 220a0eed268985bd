//! A toy mail server: `curl -X PUT localhost:8080/deliver/alice` puts a mail into alice's inbox, and everything else is a
//! request of a mail client, which the plugin answers. Whoever names a user is believed: see `own_logins.rs`.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use base64::Engine as _;
use postbell::contract::changes::{Account, Batch, Change, Happening, Item};
use postbell::contract::requests::{Access, Grant, RequestHead};
use postbell::tenant::{self, Answer, RequestError, Tenant};
use postbell::{Host, HostOptions, TenantOptions};

/// The server's routes, around a tenant.
pub fn router(tenant: Tenant) -> Router {
    Router::new().route("/deliver/{user}", put(deliver)).fallback(ask).with_state(tenant)
}

async fn deliver(State(tenant): State<Tenant>, Path(user): Path<String>) -> Result<StatusCode, String> {
    let mail = Item::message(format!("mail-{}", tenant.now()), "inbox");
    let change = Change::new(tenant.now(), Happening::MessageDelivered(mail));
    let batch = Batch::of(format!("{user}@example.org"), vec![change]);
    tenant.ingest(batch, None).await.map_err(|error| error.to_string())?;
    Ok(StatusCode::CREATED)
}

async fn ask(State(tenant): State<Tenant>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1 << 20).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let head = RequestHead::new(parts.method.as_str(), parts.uri.path(), header(header::CONTENT_TYPE));
    let Some(user) = user(header(header::AUTHORIZATION)) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"mail\"")]).into_response();
    };
    let account = Account::new(format!("id-{user}"), format!("{user}@example.org"));
    let access = Access::Granted(Grant::to(account));
    match tenant.request(tenant::Request::new(head.clone(), body.clone(), access)).await {
        Ok(answer) => response(answer),
        Err(RequestError::Refused(why)) => {
            let reply = tenant.refuse(&head, &body, why).await;
            (StatusCode::from_u16(reply.status).unwrap_or_default(), reply.body).into_response()
        }
        Err(closed) => (StatusCode::SERVICE_UNAVAILABLE, closed.to_string()).into_response(),
    }
}

fn user(authorization: &str) -> Option<String> {
    let basic = base64::prelude::BASE64_STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
    Some(String::from_utf8(basic).ok()?.split_once(':')?.0.to_owned())
}

/// A stream of parts, each sent as it comes; when the client hangs up, the stream is dropped, and the plugin hears of it.
fn response(Answer { status, headers, body }: Answer) -> Response {
    let head = Response::builder().status(status);
    let head = headers.into_iter().fold(head, |head, (name, value)| head.header(name, value));
    let body = match body {
        tenant::Body::Whole(bytes) => Body::from(bytes),
        tenant::Body::Parts(parts) => Body::from_stream(parts),
    };
    head.body(body).unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::new(HostOptions::default())?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    Ok(axum::serve(listener, router(tenant)).await?)
}
