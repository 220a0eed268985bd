//! From the name of a host to the addresses that may be called.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::addresses::{self, Network};

/// A resolver that gives no address that may not be called, and so the only way to any.
#[derive(Clone)]
pub(super) struct Guarded {
    pub(super) inner: Arc<dyn Resolve>,
    pub(super) allowed: Arc<[Network]>,
}

/// Why a call is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);

impl Guarded {
    /// Judges an address that stands in a URL.
    pub(super) fn judge(&self, address: IpAddr) -> Result<(), Refused> {
        match addresses::refusal(address, &self.allowed) {
            None => Ok(()),
            Some(word) => Err(Refused(format!("{address} is {word}, and in no network that is allowed"))),
        }
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guarded = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = guarded.inner.resolve(name).await?.collect();
            let (mut good, mut refused) = (Vec::new(), None);
            for address in found {
                match guarded.judge(address.ip()) {
                    Ok(()) => good.push(address),
                    Err(Refused(why)) => drop(refused.get_or_insert(Refused(format!("{host}: {why}")))),
                }
            }
            match refused.filter(|_| good.is_empty()) {
                Some(refused) => Err(refused.into()),
                None => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

/// The operating system's resolver.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The refusal that an error comes from, if it is one.
pub(super) fn refusal<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Refused> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}
