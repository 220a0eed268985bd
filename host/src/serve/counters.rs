//! What the clients' side counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit of the clients' side, by the name of its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `connections`: one too many was closed.
    Connections,
    /// `connections-per-address`: one too many from one address was closed.
    ConnectionsPerAddress,
    /// `header-bytes`: a request's head was too large, or had too many headers.
    HeaderBytes,
    /// `header-seconds`: a request's head took too long.
    HeaderSeconds,
    /// `body-bytes`: a request's body was too large.
    BodyBytes,
    /// `body-bytes-total`: the bodies of all requests were too large.
    BodyBytesTotal,
    /// `body-seconds`: a request's body took too long.
    BodySeconds,
    /// `idle-seconds`: a connection without requests was closed.
    IdleSeconds,
    /// `send-seconds`: a client took nothing of what was sent to it.
    SendSeconds,
    /// `tls-handshake-seconds`: a TLS handshake took too long.
    HandshakeSeconds,
    /// `failed-logins-per-account`: too many logins of one account had failed.
    FailedLoginsPerAccount,
    /// `failed-logins-per-address`: too many logins from one address had failed.
    FailedLoginsPerAddress,
    /// `logins-waiting`: too many logins waited for being verified.
    LoginsWaiting,
}

impl Limit {
    /// All limits.
    pub const ALL: [Limit; 13] = [
        Limit::Connections,
        Limit::ConnectionsPerAddress,
        Limit::HeaderBytes,
        Limit::HeaderSeconds,
        Limit::BodyBytes,
        Limit::BodyBytesTotal,
        Limit::BodySeconds,
        Limit::IdleSeconds,
        Limit::SendSeconds,
        Limit::HandshakeSeconds,
        Limit::FailedLoginsPerAccount,
        Limit::FailedLoginsPerAddress,
        Limit::LoginsWaiting,
    ];

    /// The name of its setting.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::ConnectionsPerAddress => "connections-per-address",
            Limit::HeaderBytes => "header-bytes",
            Limit::HeaderSeconds => "header-seconds",
            Limit::BodyBytes => "body-bytes",
            Limit::BodyBytesTotal => "body-bytes-total",
            Limit::BodySeconds => "body-seconds",
            Limit::IdleSeconds => "idle-seconds",
            Limit::SendSeconds => "send-seconds",
            Limit::HandshakeSeconds => "tls-handshake-seconds",
            Limit::FailedLoginsPerAccount => "failed-logins-per-account",
            Limit::FailedLoginsPerAddress => "failed-logins-per-address",
            Limit::LoginsWaiting => "logins-waiting",
        }
    }
}

/// What came of a password that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// It is right.
    Right,
    /// It is not, or its login is nobody's.
    Wrong,
    /// Whoever verifies it gave no verdict.
    Unavailable,
}

/// Counts since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicU64,
    refusals: [AtomicU64; Limit::ALL.len()],
    responses: [AtomicU64; 5],
    failed_handshakes: AtomicU64,
    malformed: AtomicU64,
    logins: [AtomicU64; 3],
    body_bytes: AtomicU64,
}

impl Counters {
    /// Counts a refusal.
    pub fn refused(&self, limit: Limit) {
        self.refusals[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a response by its status.
    pub fn responded(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.responses[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is no HTTP, or whose end cannot be told for certain.
    pub fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were no HTTP, or whose end could not be told for certain.
    pub fn malformed_requests(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Counts a connection that came to no TLS, for another reason than time.
    pub fn handshake_failed(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that came to no TLS, for another reason than time.
    pub fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Ordering::Relaxed)
    }

    /// Counts a password that was verified.
    pub fn logged_in(&self, outcome: LoginOutcome) {
        self.logins[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Passwords that were verified, by what came of it.
    pub fn logins(&self) -> BTreeMap<&'static str, u64> {
        let names = ["right", "wrong", "unavailable"];
        names.iter().zip(&self.logins).map(|(name, count)| (*name, count.load(Ordering::Relaxed))).collect()
    }

    /// Counts bytes of requests' bodies that have come; gives how many there are now.
    pub fn body_grew(&self, bytes: u64) -> u64 {
        self.body_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    /// Counts bytes of requests' bodies that were dropped.
    pub fn body_shrank(&self, bytes: u64) {
        self.body_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of requests' bodies that are there now.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// Counts a connection as long as the result lives.
    pub fn connected(&self) -> Connected<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Connected(self)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Refusals by the name of the limit that caused them.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        Limit::ALL.map(|limit| (limit.name(), self.refusals[limit as usize].load(Ordering::Relaxed))).into()
    }

    /// Responses by the class of their status: `1xx` to `5xx`.
    pub fn responses(&self) -> BTreeMap<&'static str, u64> {
        let names = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        names.iter().zip(&self.responses).map(|(name, count)| (*name, count.load(Ordering::Relaxed))).collect()
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct Connected<'a>(&'a Counters);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_appear_under_their_names() {
        let counters = Counters::default();
        for limit in Limit::ALL {
            counters.refused(limit);
        }
        counters.refused(Limit::LoginsWaiting);
        counters.responded(200);
        counters.responded(999);
        let connected = counters.connected();
        assert_eq!(counters.open_connections(), 1);
        drop(connected);
        assert_eq!(counters.open_connections(), 0);
        assert_eq!((counters.refusals()["body-bytes"], counters.refusals()["logins-waiting"]), (1, 2));
        assert_eq!((counters.responses()["2xx"], counters.responses()["5xx"]), (1, 1));
    }
}
