//! One request and its answer: which tenant, which route, whose login, how large a body; then the plugin has it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts as Head;
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode, Version};

use super::answer::{self, ClientResponse};
use super::basic::Basic;
use super::counters::{Counters, Limit};
use super::gate::Refused;
use super::hand_over::{hand_over, request_head};
use super::logins::{Login, Logins};
use super::peers::{self, Authorization, Peers, Unanswered};
use super::proxies::{Origin, Proxies};
use super::receive::{self, BodyLimits, Received, Unreceived};
use super::room::Room;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use crate::clock::Clock;
use crate::contract::lifecycle::Route;
use crate::contract::requests::{Denial, Refusal};
use crate::contract::types::Reply;
use crate::plugin;
use crate::tenant::Tenant;

/// A tenant, as clients come to it.
pub struct ClientTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// The names in `Host` that lead to it, in lower case.
    pub hosts: Vec<String>,
    /// The domains of logins that lead to it, in lower case.
    pub domains: Vec<String>,
    /// How large the body of a request may be, in bytes.
    pub body_bytes: usize,
    /// Who may log in.
    pub logins: Arc<Logins>,
}

/// Answers the requests of all tenants' clients.
pub struct Exchange {
    served: RwLock<Served>,
    proxies: Proxies,
    limits: BodyLimits,
    room: Arc<Room>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    /// None, or none yet: no other node could have a tenant.
    peers: OnceLock<Arc<Peers>>,
}

/// How long a request waits while its tenant goes from one node to another.
const MOVING: Duration = Duration::from_secs(5);

/// How long until a node that did not have it is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// A request that another node handed on, or that is not to be handed on for another reason.
#[derive(Clone, Copy)]
struct HandedOn;

/// The tenants, and how requests find them.
#[derive(Default)]
struct Served {
    tenants: BTreeMap<String, Arc<ClientTenant>>,
    by_host: HashMap<String, Arc<ClientTenant>>,
    by_domain: HashMap<String, Arc<ClientTenant>>,
}

impl Served {
    fn insert(&mut self, tenant: Arc<ClientTenant>) {
        self.remove(tenant.tenant.name());
        self.by_host.extend(tenant.hosts.iter().map(|host| (host.clone(), tenant.clone())));
        self.by_domain.extend(tenant.domains.iter().map(|domain| (domain.clone(), tenant.clone())));
        self.tenants.insert(tenant.tenant.name().to_owned(), tenant);
    }

    fn remove(&mut self, name: &str) {
        let Some(former) = self.tenants.remove(name) else { return };
        for host in &former.hosts {
            self.by_host.remove(host);
        }
        for domain in &former.domains {
            self.by_domain.remove(domain);
        }
    }
}

impl Exchange {
    /// Hosts and domains of the tenants do not overlap.
    pub fn new(
        tenants: Vec<ClientTenant>,
        proxies: Proxies,
        limits: BodyLimits,
        counters: Arc<Counters>,
        clock: Arc<dyn Clock>,
    ) -> Exchange {
        let room = Arc::new(Room::new(limits.bytes_total, counters.clone()));
        let (served, peers) = (RwLock::default(), OnceLock::new());
        let exchange = Exchange { served, proxies, limits, room, counters, clock, peers };
        exchange.change(tenants, &[]);
        exchange
    }

    /// Removes the tenants of these names, then serves these: new ones, or others in the place of those with their names.
    /// Requests that have begun end with the tenants that they began with.
    pub fn change(&self, tenants: Vec<ClientTenant>, removed: &[String]) {
        let mut served = self.served.write().expect("nothing panics while this lock is held");
        for name in removed.iter().map(String::as_str).chain(tenants.iter().map(|tenant| tenant.tenant.name())) {
            served.remove(name);
        }
        for tenant in tenants {
            served.insert(Arc::new(tenant));
        }
    }

    /// The tenant of this name.
    pub fn named(&self, name: &str) -> Option<Arc<ClientTenant>> {
        self.served().tenants.get(name).cloned()
    }

    fn served(&self) -> RwLockReadGuard<'_, Served> {
        self.served.read().expect("nothing panics while this lock is held")
    }

    /// Other nodes could have the tenants, from now on.
    pub fn join(&self, peers: Arc<Peers>) {
        // An error means that this was said before.
        let _ = self.peers.set(peers);
    }

    /// The proxies that clients may come through.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Answers one request that came on a connection of this origin. Dropping the future, or the answer's body before its
    /// end, hangs up.
    pub async fn answer(&self, mut request: Request<Incoming>, connection: Origin) -> ClientResponse {
        let sender = self.peers.get().filter(|peers| peers.sent(request.headers())).cloned();
        let origin = match sender {
            Some(_) => self.proxies.origin_by_proxy(connection, request.headers()),
            None => self.proxies.origin(connection, request.headers_mut()),
        };
        if let Some(peers) = sender.as_ref().filter(|_| request.uri().path().starts_with(peers::ANSWERS)) {
            return peers.acknowledged(request.uri().path(), request.uri().query());
        }
        request.extensions_mut().insert(origin);
        if sender.is_some() {
            request.extensions_mut().insert(HandedOn);
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        // Without the query, which may hold a secret. The rest is said by whoever learns it.
        let trace = tracing::debug_span!(
            target: "postbell::request", "request", client = %origin.address, %method, path, tenant = Empty,
            request = Empty, sequence = Empty, status = Empty,
        );
        let began = self.clock.monotonic();
        let mut response = self.respond(request, origin).instrument(trace.clone()).await;
        if let Some(name) = sender.and_then(|peers| response.body_mut().relay(&peers.relays)) {
            let name = HeaderValue::try_from(format!("{name:016x}")).expect("digits are a value");
            response.headers_mut().insert(peers::ANSWER, name);
        }
        let (status, ms) = (response.status().as_u16(), self.clock.monotonic() - began);
        self.counters.responded(status);
        trace.record("status", status);
        trace.in_scope(|| tracing::debug!(client = %origin.address, %method, path, status, ms, "answered"));
        response
    }

    async fn respond(&self, request: Request<Incoming>, origin: Origin) -> ClientResponse {
        let (mut head, body) = request.into_parts();
        if !host_is_clear(&head) {
            self.counters.malformed();
            return answer::closing(answer::plain(StatusCode::BAD_REQUEST, "one valid Host header is needed"));
        }
        let basic = Basic::read(&head.headers);
        if let Some(login) = head.headers.remove(header::AUTHORIZATION) {
            head.extensions.insert(Authorization(login));
        }
        let Some(served) = self.tenant(&head, basic.as_ref().ok()) else {
            return answer::plain(StatusCode::MISDIRECTED_REQUEST, "no tenant answers to this host");
        };
        let plugin = served.tenant.seat_for(head.uri.path()).plugin();
        match plugin::route(&plugin.manifest().routes, head.uri.path()) {
            Some(route) if route.methods.iter().any(|method| method == head.method.as_str()) => {
                self.enter(&served, route, (basic, origin), head, body).await
            }
            Some(route) => wrong_method(route),
            None => answer::plain(StatusCode::NOT_FOUND, "nothing is here"),
        }
    }

    /// By `Host`, then by the domain of the login, then the only one.
    fn tenant(&self, head: &Head, basic: Option<&Basic>) -> Option<Arc<ClientTenant>> {
        let served = self.served();
        let by_host = || served.by_host.get(&host(head)?);
        let by_domain = || served.by_domain.get(&basic?.domain()?.to_lowercase());
        let only = || served.tenants.values().next().filter(|_| served.tenants.len() == 1);
        by_host().or_else(by_domain).or_else(only).cloned()
    }

    /// A login by header comes before the body: who may not enter cannot make the server keep what it sends.
    async fn enter(
        &self,
        served: &ClientTenant,
        route: &Route,
        (basic, origin): (Result<Basic, Denial>, Origin),
        head: Head,
        mut body: Incoming,
    ) -> ClientResponse {
        let limits = BodyLimits { bytes: served.body_bytes, ..self.limits };
        let mut login = None;
        if route.schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
            let verified = match &basic {
                Ok(basic) => served.logins.basic(basic, origin).await,
                Err(denial) => Err((*denial).into()),
            };
            match verified {
                Ok(verified) => login = Some(verified),
                Err(refused) => {
                    receive::discard(&head.headers, body, limits).await;
                    return denied(served.tenant.name(), refused);
                }
            }
        }
        match receive::receive(&mut body, limits, &self.room).await {
            Ok(Received { bytes, share }) => {
                let response = match self.peers.get() {
                    Some(peers) => at_its_node(peers, served, route, (login, origin), head, bytes.into()).await,
                    None => hand_over(served, route, head, login, bytes.into(), None).await,
                };
                drop(share);
                response
            }
            Err(unreceived) => {
                self.count(unreceived);
                if let Unreceived::TooLarge | Unreceived::NoRoom = unreceived {
                    receive::discard(&head.headers, body, limits).await;
                }
                answer::closing(unreceived_answer(served, route, &head, unreceived).await)
            }
        }
    }

    fn count(&self, unreceived: Unreceived) {
        match unreceived {
            Unreceived::TooLarge => self.counters.refused(Limit::BodyBytes),
            Unreceived::NoRoom => self.counters.refused(Limit::BodyBytesTotal),
            Unreceived::TooSlow => self.counters.refused(Limit::BodySeconds),
            Unreceived::Broken => self.counters.malformed(),
        }
    }
}

/// Has the node answer that has the tenant. While the tenant goes from one to another, the request waits.
async fn at_its_node(
    peers: &Peers,
    served: &ClientTenant,
    route: &Route,
    (login, origin): (Option<Login>, Origin),
    head: Head,
    body: Bytes,
) -> ClientResponse {
    let (mut news, tenant) = (peers.news(), served.tenant.name());
    let handed_on = head.extensions.get::<HandedOn>().is_some();
    let until = Instant::now() + MOVING;
    loop {
        news.mark_unchanged();
        let mut again = until;
        match peers.owner(tenant) {
            Some(_) if handed_on => break,
            Some(peer) => match peers.ask(peer, &head, origin, body.clone()).await {
                Ok(response) => return response,
                // This node may know more of it than that one, which nothing here would tell.
                Err(Unanswered::NotThere) => again = until.min(Instant::now() + AGAIN),
                Err(Unanswered::Gone) => break,
            },
            None => {
                if let Some(stay) = peers.stay(tenant) {
                    return hand_over(served, route, head, login, body, Some(stay)).await;
                }
            }
        }
        let heard = tokio::time::timeout_at(again, news.changed()).await;
        let leaves = matches!(heard, Ok(Err(_)));
        if leaves || until <= Instant::now() {
            break;
        }
    }
    let mut response = answer::of_reply(moved(served, route, &head).await);
    if handed_on {
        response.headers_mut().insert(peers::NOT_HERE, HeaderValue::from_static("1"));
    }
    response
}

/// The tenant is about to be elsewhere.
async fn moved(served: &ClientTenant, route: &Route, head: &Head) -> Reply {
    served.tenant.refuse(&request_head(head, route), &Bytes::new(), Refusal::Moved).await
}

/// A login that exists and one that does not are refused alike.
fn denied(tenant: &str, refused: Refused) -> ClientResponse {
    match (refused.limit, refused.denial) {
        (Some(Limit::LoginsWaiting), _) => return not_now("too many logins wait"),
        (Some(_), _) => return too_many_failures(),
        (None, Denial::Unavailable) => return not_now("logins cannot be verified now"),
        (None, _) => {}
    }
    let mut response = answer::plain(StatusCode::UNAUTHORIZED, "a login is needed");
    let challenge = HeaderValue::try_from(format!("Basic realm=\"{tenant}\", charset=\"UTF-8\""))
        .expect("a tenant's name has no character that a header could not hold");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn too_many_failures() -> ClientResponse {
    let mut response = answer::plain(StatusCode::TOO_MANY_REQUESTS, "too many logins have failed; wait");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

async fn unreceived_answer(
    served: &ClientTenant,
    route: &Route,
    head: &Head,
    unreceived: Unreceived,
) -> ClientResponse {
    match unreceived {
        Unreceived::TooLarge => {
            let reply = served.tenant.refuse(&request_head(head, route), &Bytes::new(), Refusal::TooLarge).await;
            let mut response = answer::of_reply(reply);
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
        Unreceived::NoRoom => not_now("the requests of all clients are too large"),
        Unreceived::TooSlow => answer::plain(StatusCode::REQUEST_TIMEOUT, "the request's body took too long"),
        Unreceived::Broken => answer::plain(StatusCode::BAD_REQUEST, "the request's body is broken"),
    }
}

fn not_now(why: &str) -> ClientResponse {
    let mut response = answer::plain(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn wrong_method(route: &Route) -> ClientResponse {
    let mut response = answer::plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method");
    if let Ok(methods) = HeaderValue::try_from(route.methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

/// Whether there is no doubt about which host a request is for (RFC 9112, section 3.2): a proxy before this server must
/// not have read another one out of it.
fn host_is_clear(head: &Head) -> bool {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.is_empty() || host.to_str().is_ok_and(is_host),
        (None, _) => head.version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

fn is_host(text: &str) -> bool {
    !text.contains(['@', ',']) && text.parse::<Authority>().is_ok()
}

/// The host that a request is for, in lower case and without port: of its target, where that is absolute, else of
/// `Host`.
fn host(head: &Head) -> Option<String> {
    let of_target = head.uri.authority().cloned();
    let of_header = || head.headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let authority = of_target.or_else(of_header)?;
    Some(authority.host().trim_end_matches('.').to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, header: Option<&str>, expected: Option<&str>) {
        let mut request = Request::get(target);
        if let Some(header) = header {
            request = request.header(header::HOST, header);
        }
        let head = request.body(()).expect("a request").into_parts().0;
        assert_eq!(host(&head).as_deref(), expected, "{target} {header:?}");
    }

    #[test]
    fn a_request_is_for_one_host() {
        let check = |version, hosts: &[&str], clear| {
            let request = Request::get("/").version(version);
            let request = hosts.iter().fold(request, |request, host| request.header(header::HOST, *host));
            let head = request.body(()).expect("a request").into_parts().0;
            assert_eq!(host_is_clear(&head), clear, "{version:?} {hosts:?}");
        };
        check(Version::HTTP_11, &["a.example:8080"], true);
        check(Version::HTTP_11, &["[::1]:80"], true);
        check(Version::HTTP_11, &[""], true);
        check(Version::HTTP_10, &[], true);
        check(Version::HTTP_11, &[], false);
        for wrong in ["a b", "a@b.example", "a/b", "a:b:c", "a.example,b.example"] {
            check(Version::HTTP_11, &[wrong], false);
        }
        check(Version::HTTP_11, &["a.example", "a.example"], false);
        check(Version::HTTP_10, &["a.example", "b.example"], false);
    }

    #[test]
    fn the_host_is_the_targets_or_the_headers() {
        check("/", Some("Mail.Example.ORG"), Some("mail.example.org"));
        check("/", Some("mail.example.org.:8080"), Some("mail.example.org"));
        check("/", Some("[::1]:8080"), Some("[::1]"));
        check("http://a.example/", Some("b.example"), Some("a.example"));
        check("/", Some("not a host"), None);
        check("/", None, None);
    }
}
