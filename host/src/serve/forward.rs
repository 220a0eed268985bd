//! Passwords verified by another HTTP server, as nginx's `auth_request` asks it: a sub-request with the client's login, whose
//! status is the answer.
//!
//! 2xx: the login is good, for the user that the header `X-Auth-User` names, else for the one that was typed. 401 and
//! 403: it is not. Anything else, and no answer in time: it cannot be told now.

use std::time::Duration;

use hyper::StatusCode;
use reqwest::header::HeaderValue;
use reqwest::{Client, Response, Url};

use super::authenticator::{Attempt, Authenticator, Verified};
use crate::contract::requests::Denial;

/// How many sub-requests are under way at a time.
const AT_ONCE: usize = 64;

/// Asks another server.
#[derive(Debug)]
pub struct Forward {
    client: Client,
    url: Url,
}

impl Forward {
    /// Asks this URL, and waits so long for its answer. Redirects are not followed, and the environment's proxies not used.
    ///
    /// # Errors
    ///
    /// TLS cannot be had.
    pub fn new(url: Url, time: Duration) -> Result<Forward, reqwest::Error> {
        let redirects = reqwest::redirect::Policy::none();
        let client = Client::builder().no_proxy().redirect(redirects).timeout(time).build()?;
        Ok(Forward { client, url })
    }

    async fn ask(&self, attempt: Attempt<'_>) -> Result<String, Denial> {
        let asked = self
            .client
            .get(self.url.clone())
            .basic_auth(attempt.login, Some(attempt.secret))
            .header("x-forwarded-for", attempt.address.to_string())
            .header("x-forwarded-proto", if attempt.secure { "https" } else { "http" });
        let answer = asked.send().await.map_err(|error| unavailable(&error.without_url()))?;
        match answer.status() {
            status if status.is_success() => user(&answer, attempt.login),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Denial::WrongSecret),
            status => Err(unavailable(&format!("the answer's status is {status}"))),
        }
    }
}

impl Authenticator for Forward {
    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn verify<'a>(&'a self, attempt: Attempt<'a>) -> Verified<'a> {
        Box::pin(self.ask(attempt))
    }

    fn version(&self, _: &str) -> Option<&str> {
        None
    }
}

fn user(answer: &Response, typed: &str) -> Result<String, Denial> {
    let named = answer.headers().get("x-auth-user").map(HeaderValue::to_str);
    match named {
        Some(Ok(user)) if !user.is_empty() => Ok(user.to_owned()),
        Some(_) => Err(unavailable(&"x-auth-user names nobody")),
        None => Ok(typed.to_owned()),
    }
}

fn unavailable(why: &dyn std::fmt::Display) -> Denial {
    tracing::warn!(%why, "the server that verifies logins gives no verdict");
    Denial::Unavailable
}
