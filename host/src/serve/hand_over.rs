//! What a plugin is told of a request, and the way of its answer.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderName};
use hyper::http::request::Parts as Head;
use zeroize::Zeroize;

use super::answer::{self, ClientResponse};
use super::exchange::ClientTenant;
use super::logins::{Login, Substitution};
use super::proxies::Origin;
use crate::cluster::Stay;
use crate::contract::lifecycle::Route;
use crate::contract::requests::{Access, Claims, Credential, Denial, RequestHead, Span};
use crate::tenant::{Request, RequestError};

/// Asks the plugin what the request says of itself, finds out whether that is so, and hands the request over. `login`:
/// by header, where the route wants one. `stay` is let go of once the tenant has the request.
pub async fn hand_over(
    served: &ClientTenant,
    route: &Route,
    head: Head,
    login: Option<Login>,
    body: Bytes,
    stay: Option<Stay>,
) -> ClientResponse {
    let request_head = request_head(&head, route);
    let (with_cookies, origin) = (with_cookies(&request_head, &head, route), head.extensions.get().copied());
    // Its text lies in the buffer that the connection read it into, which would stay for as long as the client waits.
    drop(head);
    let identified = served.tenant.identify(&with_cookies, &body).await;
    drop(with_cookies);
    let claims = match identified {
        Ok(claims) => Scrubbed(claims),
        Err(error) => return refused(served, &request_head, &body, error).await,
    };
    let body = overwritten(body, &claims.0.secrets);
    let login = match login {
        Some(login) => Ok(login),
        None => by_claims(served, &claims.0, origin).await,
    };
    let Ok((access, substitution)) = access(served, &login, claims.0.wants_token) else {
        return answer::plain(StatusCode::SERVICE_UNAVAILABLE, "there is no randomness for a token");
    };
    let resolve = |name| served.logins.resolve(login.as_ref().ok(), name);
    let request = Request {
        head: request_head.clone(),
        body: body.clone(),
        access,
        act_as: claims.0.act_as.as_ref().map(resolve),
        accounts: claims.0.accounts.iter().map(resolve).collect(),
    };
    let answered = served.tenant.request(request);
    drop(stay);
    match answered.await {
        Ok(answer) => {
            if let (true, Ok(login)) = (claims.0.ends_login, &login) {
                served.logins.revoke(login);
            }
            answer::of_answer(answer, substitution)
        }
        Err(error) => refused(served, &request_head, &body, error).await,
    }
}

/// A plugin's claims, whose secrets are overwritten in memory at the end.
struct Scrubbed(Claims);

impl Drop for Scrubbed {
    fn drop(&mut self) {
        match &mut self.0.credential {
            Some(Credential::Password(password)) => password.secret.zeroize(),
            Some(Credential::Token(token)) => token.zeroize(),
            Some(Credential::Preauth(preauth)) => preauth.digest.zeroize(),
            None => {}
        }
    }
}

async fn by_claims(served: &ClientTenant, claims: &Claims, origin: Option<Origin>) -> Result<Login, Denial> {
    match (&claims.credential, origin) {
        (Some(credential), Some(origin)) => served.logins.credential(credential, origin).await,
        (Some(_), None) => Err(Denial::Unavailable),
        (None, _) => Err(Denial::Missing),
    }
}

fn access(
    served: &ClientTenant,
    login: &Result<Login, Denial>,
    wants_token: bool,
) -> Result<(Access, Option<Substitution>), getrandom::Error> {
    match login {
        Ok(login) => served.logins.grant(login, wants_token),
        Err(denial) => Ok((Access::Denied(*denial), None)),
    }
}

async fn refused(served: &ClientTenant, head: &RequestHead, body: &Bytes, error: RequestError) -> ClientResponse {
    match error {
        RequestError::Refused(why) => answer::of_reply(served.tenant.refuse(head, body, why).await),
        RequestError::Closed(reason) => {
            answer::closing(answer::plain(StatusCode::SERVICE_UNAVAILABLE, &format!("closed by the server: {reason}")))
        }
    }
}

/// The head, with the headers that the route asks for; never one that carries a login.
pub fn request_head(head: &Head, route: &Route) -> RequestHead {
    RequestHead {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        content_type: head.headers.get(header::CONTENT_TYPE).map(text_of).unwrap_or_default(),
        headers: asked_for(head, route, |name| ![header::AUTHORIZATION, header::COOKIE].contains(name)),
        secure: head.extensions.get::<Origin>().is_some_and(|origin| origin.secure),
    }
}

/// The head that `identify` alone sees.
fn with_cookies(request_head: &RequestHead, head: &Head, route: &Route) -> RequestHead {
    let mut with_cookies = request_head.clone();
    with_cookies.headers.extend(asked_for(head, route, |name| name == header::COOKIE));
    with_cookies
}

fn asked_for(head: &Head, route: &Route, may_see: fn(&HeaderName) -> bool) -> Vec<(String, String)> {
    let asked = |name: &HeaderName| route.headers.iter().any(|wanted| wanted.eq_ignore_ascii_case(name.as_str()));
    let seen = head.headers.iter().filter(|(name, _)| asked(name) && may_see(name));
    seen.map(|(name, value)| (name.as_str().to_owned(), text_of(value))).collect()
}

fn text_of(value: &header::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The body with every secret overwritten. All stand within it: a plugin that claims something else has failed.
fn overwritten(body: Bytes, secrets: &[Span]) -> Bytes {
    if secrets.is_empty() {
        return body;
    }
    let mut body = bytes::BytesMut::from(body);
    for Span { start, length } in secrets {
        let start = *start as usize;
        body[start..start + *length as usize].fill(b'*');
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u32, length: u32) -> Span {
        Span { start, length }
    }

    #[test]
    fn secrets_are_overwritten_and_nothing_else() {
        for (spans, expected) in
            [(vec![], "0123456789"), (vec![span(0, 2), span(5, 1)], "**234*6789"), (vec![span(0, 10)], "**********")]
        {
            assert_eq!(overwritten(Bytes::from_static(b"0123456789"), &spans), expected);
        }
    }

    fn head() -> Head {
        let request = hyper::Request::post("/EWS/Exchange.asmx?a=b%20c")
            .header("Authorization", "Basic YTpi")
            .header("Cookie", "token=1")
            .header("User-Agent", "test")
            .header("X-Other", "x")
            .header("Content-Type", "text/xml");
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_plugin_sees_the_headers_that_it_asked_for_and_no_login() {
        let headers = ["user-agent", "Authorization", "COOKIE", "x-missing"].map(str::to_owned).to_vec();
        let route = Route { prefix: "/".to_owned(), methods: Vec::new(), headers, schemes: Vec::new(), park_ms: 0 };
        let seen = request_head(&head(), &route);
        assert_eq!(seen.headers, [("user-agent".to_owned(), "test".to_owned())]);
        assert_eq!((seen.path.as_str(), seen.query.as_str()), ("/EWS/Exchange.asmx", "a=b%20c"));
        assert_eq!((seen.content_type.as_str(), seen.secure), ("text/xml", false));
        let identified = with_cookies(&seen, &head(), &route);
        assert_eq!(identified.headers[1..], [("cookie".to_owned(), "token=1".to_owned())]);
    }
}
