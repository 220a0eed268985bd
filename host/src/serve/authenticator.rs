//! Who says whether a password is right: a file of hashes, another server, or whatever an embedder has.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use crate::contract::requests::Denial;

/// A password to be verified.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The login, as it was typed.
    pub login: &'a str,
    /// The password.
    pub secret: &'a str,
    /// Where the client is.
    pub address: IpAddr,
    /// Whether the client came over TLS.
    pub secure: bool,
}

/// What came of an attempt: the name of the user, which may be another one than was typed, or why it is refused.
pub type Verified<'a> = Pin<Box<dyn Future<Output = Result<String, Denial>> + Send + 'a>>;

/// Verifies passwords.
///
/// It is asked for one login at a time, as often as it says; what it has verified is remembered for a minute, and what it
/// has refused counts against the account and the address.
pub trait Authenticator: Send + Sync {
    /// How many attempts it works on at a time; the others wait.
    fn at_once(&self) -> usize;

    /// Verifies a password. `unknown-login` and `wrong-secret` are the same to the client; `unavailable`: it cannot be
    /// told now, and does not count as a failure. Takes no longer for a login that does not exist.
    fn verify<'a>(&'a self, attempt: Attempt<'a>) -> Verified<'a>;

    /// What changes when the password of a login does, as far as that is known here: with another value, a login that is
    /// remembered is verified again.
    fn version(&self, login: &str) -> Option<&str>;
}
