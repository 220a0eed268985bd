//! Makes calls to whoever a client names, and trusts none of it.
//!
//! A URL in a request is a way to make this host talk to places that its client cannot reach. So the address that is
//! connected to is judged ([`addresses`](super::addresses)), whatever name led to it and also after a redirect; no proxy
//! is used; certificates are verified; time, sizes, rates and the number of calls at once are bounded.

use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Name, Resolve};
use reqwest::{Certificate, Client, redirect};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::addresses::Network;
use super::lines::Lines;
use super::names::{Guarded, Refused, System, refusal};
use super::{Call, CallTarget, Done, Outbound, Outcome, Response, TcpTarget, http};

/// What a [`Caller`] allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerLimits {
    /// Networks that may be called though they are not the public internet.
    pub allow: Vec<Network>,
    /// The whole of a call, from its turn to the answer's last byte.
    pub time: Duration,
    /// How many bytes an answer's body may have.
    pub answer_bytes: usize,
    /// Calls of all tenants at once.
    pub calls: usize,
    /// Calls of one tenant at once; further ones wait.
    pub calls_per_tenant: usize,
    /// Calls of one tenant that begin in a second; further ones wait, and fail where that would take a minute.
    pub calls_per_second: u32,
}

impl Default for CallerLimits {
    fn default() -> CallerLimits {
        CallerLimits {
            allow: Vec::new(),
            time: Duration::from_secs(10),
            answer_bytes: 64 << 10,
            calls: 1_000,
            calls_per_tenant: 200,
            calls_per_second: 200,
        }
    }
}

/// How long a call may wait because of the rate.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why there is no caller.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallerError(String);

/// Makes calls on a runtime's threads.
pub struct Caller {
    runtime: Handle,
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    guarded: Guarded,
    lines: Lines,
    limits: CallerLimits,
}

impl Caller {
    /// Makes calls on this runtime. `authorities`: certificates in PEM form that are trusted beside the public ones.
    ///
    /// # Errors
    ///
    /// The certificates are none.
    pub fn new(runtime: Handle, limits: CallerLimits, authorities: &[u8]) -> Result<Caller, CallerError> {
        Caller::resolving(runtime, limits, authorities, Arc::new(System))
    }

    fn resolving(
        runtime: Handle,
        limits: CallerLimits,
        authorities: &[u8],
        names: Arc<dyn Resolve>,
    ) -> Result<Caller, CallerError> {
        let error = |error: reqwest::Error| CallerError(format!("{error}"));
        let guarded = Guarded { inner: names, allowed: limits.allow.clone().into() };
        let client = Client::builder()
            .dns_resolver(Arc::new(guarded.clone()))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("postbell/", env!("CARGO_PKG_VERSION")))
            .pool_idle_timeout(Duration::from_secs(15));
        let authorities = Certificate::from_pem_bundle(authorities).map_err(error)?;
        let client = authorities.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        let client = client.build().map_err(error)?;
        let lines = Lines::new(limits.calls, limits.calls_per_tenant, limits.calls_per_second, LONGEST_WAIT);
        Ok(Caller { runtime, inner: Arc::new(Inner { client, guarded, lines, limits }) })
    }
}

impl Outbound for Caller {
    fn call(&self, tenant: &str, call: Call, done: Done) {
        let (inner, tenant) = (self.inner.clone(), tenant.to_owned());
        self.runtime.spawn(async move {
            let Call { target, body, .. } = call;
            done.finish(inner.call(&tenant, target, body).await);
        });
    }
}

impl Inner {
    async fn call(&self, tenant: &str, target: CallTarget, body: Vec<u8>) -> Outcome {
        let _turn = match self.lines.turn(tenant).await {
            Ok(turn) => turn,
            Err(why) => return Outcome::Failed(why.into()),
        };
        match tokio::time::timeout(self.limits.time, self.make(&target, body)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Refused(why))) => {
                tracing::warn!(tenant, why, "an outbound call is refused");
                Outcome::Refused(why)
            }
            Err(_) => Outcome::Failed(format!("no answer within {} s", self.limits.time.as_secs())),
        }
    }

    async fn make(&self, target: &CallTarget, body: Vec<u8>) -> Result<Outcome, Refused> {
        match target {
            CallTarget::HttpPost(target) => {
                http::post(&self.client, &self.guarded, target, body, self.limits.answer_bytes).await
            }
            CallTarget::Tcp(target) => self.write(target, &body).await,
        }
    }

    /// Connects, writes, closes.
    async fn write(&self, target: &TcpTarget, body: &[u8]) -> Result<Outcome, Refused> {
        let addresses = match target.address.parse() {
            Ok(address) => self.guarded.judge(address).map(|()| vec![address])?,
            Err(_) => match self.resolve(&target.address).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    let refused = refusal(&*error).cloned();
                    return refused.map_or_else(|| Ok(Outcome::Failed(error.to_string())), Err);
                }
            },
        };
        let written = async {
            let mut failed = std::io::Error::other("the name has no address");
            for address in addresses {
                match TcpStream::connect((address, target.port)).await {
                    Ok(mut stream) => {
                        stream.write_all(body).await?;
                        return stream.shutdown().await;
                    }
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        };
        Ok(match written.await {
            Ok(()) => Outcome::Answered(Response { status: 0, body: Vec::new() }),
            Err(error) => Outcome::Failed(error.to_string()),
        })
    }

    async fn resolve(
        &self,
        name: &str,
    ) -> Result<Vec<std::net::IpAddr>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        let name: Name = name.parse()?;
        Ok(self.guarded.resolve(name).await?.map(|address| address.ip()).collect())
    }
}

#[cfg(test)]
mod tests;
