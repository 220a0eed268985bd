//! One request and its answer: which tenant, which route, whose login, how large a body; then the plugin has it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts as Head;
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};

use super::answer::{self, ClientResponse};
use super::basic::Basic;
use super::counters::{Counters, Limit};
use super::hand_over::{hand_over, request_head};
use super::logins::Logins;
use super::receive::{self, BodyLimits, Unreceived};
use crate::clock::Clock;
use crate::contract::lifecycle::Route;
use crate::contract::requests::{Denial, Refusal};
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
    /// Who may log in.
    pub logins: Logins,
}

/// Answers the requests of all tenants' clients.
pub struct Exchange {
    tenants: Vec<ClientTenant>,
    by_host: HashMap<String, usize>,
    by_domain: HashMap<String, usize>,
    limits: BodyLimits,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl Exchange {
    /// Hosts and domains of the tenants do not overlap.
    pub fn new(
        tenants: Vec<ClientTenant>,
        limits: BodyLimits,
        counters: Arc<Counters>,
        clock: Arc<dyn Clock>,
    ) -> Exchange {
        let index = |names: fn(&ClientTenant) -> &Vec<String>| -> HashMap<String, usize> {
            let each = tenants.iter().enumerate();
            each.flat_map(|(index, tenant)| names(tenant).iter().map(move |name| (name.clone(), index))).collect()
        };
        let (by_host, by_domain) = (index(|tenant| &tenant.hosts), index(|tenant| &tenant.domains));
        Exchange { tenants, by_host, by_domain, limits, counters, clock }
    }

    /// Answers one request. Dropping the future, or the answer's body before its end, hangs up.
    pub async fn answer(&self, request: Request<Incoming>) -> ClientResponse {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let began = self.clock.monotonic();
        let response = self.respond(request).await;
        let (status, ms) = (response.status().as_u16(), self.clock.monotonic() - began);
        self.counters.responded(status);
        // Without the query, which may hold a secret.
        tracing::debug!(%method, path, status, ms, "answered");
        response
    }

    async fn respond(&self, request: Request<Incoming>) -> ClientResponse {
        let (mut head, body) = request.into_parts();
        let basic = Basic::read(&head.headers);
        head.headers.remove(header::AUTHORIZATION);
        let Some(served) = self.tenant(&head, basic.as_ref().ok()) else {
            return answer::plain(StatusCode::MISDIRECTED_REQUEST, "no tenant answers to this host");
        };
        let plugin = served.tenant.plugin();
        match plugin::route(&plugin.manifest().routes, head.uri.path()) {
            Some(route) if route.methods.iter().any(|method| method == head.method.as_str()) => {
                self.enter(served, route, basic, &head, body).await
            }
            Some(route) => wrong_method(route),
            None => answer::plain(StatusCode::NOT_FOUND, "nothing is here"),
        }
    }

    /// By `Host`, then by the domain of the login, then the only one.
    fn tenant(&self, head: &Head, basic: Option<&Basic>) -> Option<&ClientTenant> {
        let by_host = || self.by_host.get(&host(head)?);
        let by_domain = || self.by_domain.get(&basic?.domain()?.to_lowercase());
        match (by_host().or_else(by_domain), self.tenants.as_slice()) {
            (Some(index), tenants) => tenants.get(*index),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// A login by header comes before the body: who may not enter cannot make the server keep what it sends.
    async fn enter(
        &self,
        served: &ClientTenant,
        route: &Route,
        basic: Result<Basic, Denial>,
        head: &Head,
        body: Incoming,
    ) -> ClientResponse {
        let mut login = None;
        if route.schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
            let verified = match &basic {
                Ok(basic) => served.logins.basic(basic).await,
                Err(denial) => Err(*denial),
            };
            match verified {
                Ok(verified) => login = Some(verified),
                Err(denial) => {
                    receive::discard(&head.headers, body, self.limits).await;
                    return self.denied(served.tenant.name(), denial);
                }
            }
        }
        match receive::receive(&head.headers, body, self.limits).await {
            Ok(body) => hand_over(served, route, head, login, body).await,
            Err(unreceived) => answer::closing(self.unreceived(served, route, head, unreceived).await),
        }
    }

    fn denied(&self, tenant: &str, denial: Denial) -> ClientResponse {
        if denial == Denial::Throttled {
            self.counters.refused(Limit::LoginsWaiting);
            let mut response = answer::plain(StatusCode::SERVICE_UNAVAILABLE, "too many logins wait");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        }
        let mut response = answer::plain(StatusCode::UNAUTHORIZED, "a login is needed");
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{tenant}\", charset=\"UTF-8\""))
            .expect("a tenant's name has no character that a header could not hold");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }

    async fn unreceived(
        &self,
        served: &ClientTenant,
        route: &Route,
        head: &Head,
        unreceived: Unreceived,
    ) -> ClientResponse {
        match unreceived {
            Unreceived::TooLarge => {
                self.counters.refused(Limit::BodyBytes);
                let head = request_head(head, route);
                let reply = served.tenant.refuse(&head, &Bytes::new(), Refusal::TooLarge).await;
                let mut response = answer::of_reply(reply);
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                response
            }
            Unreceived::TooSlow => {
                self.counters.refused(Limit::BodySeconds);
                answer::plain(StatusCode::REQUEST_TIMEOUT, "the request's body took too long")
            }
            Unreceived::Broken => answer::plain(StatusCode::BAD_REQUEST, "the request's body is broken"),
        }
    }
}

fn wrong_method(route: &Route) -> ClientResponse {
    let mut response = answer::plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method");
    if let Ok(methods) = HeaderValue::try_from(route.methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
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
    fn the_host_is_the_targets_or_the_headers() {
        check("/", Some("Mail.Example.ORG"), Some("mail.example.org"));
        check("/", Some("mail.example.org.:8080"), Some("mail.example.org"));
        check("/", Some("[::1]:8080"), Some("[::1]"));
        check("http://a.example/", Some("b.example"), Some("a.example"));
        check("/", Some("not a host"), None);
        check("/", None, None);
    }
}
