//! Who says whether a password is right: a file of hashes, another server, or whatever an embedder has.
//!
//! Embedders who serve HTTP themselves verify logins themselves, and need none of this: `examples/own_logins.rs`. Those who
//! use the program's listener give [`Logins`](super::logins::Logins::verified_by) an [`Authenticator`]: one method that
//! verifies, and two that say how. The rest stays as it is: throttling, the cache of verified logins, tokens.
//!
//! ```
//! use postbell::contract::requests::Denial;
//! use postbell::serve::authenticator::{Attempt, Authenticator, Verified};
//!
//! /// The users of a mail server, which says itself whether a password is right.
//! struct MailServer {
//!     is_right: fn(login: &str, secret: &str) -> bool,
//! }
//!
//! impl Authenticator for MailServer {
//!     fn at_once(&self) -> usize {
//!         16 // where hashes are computed, no more than there are processors
//!     }
//!
//!     fn verify<'a>(&'a self, attempt: Attempt<'a>) -> Verified<'a> {
//!         let right = (self.is_right)(attempt.login, attempt.secret);
//!         // The same refusal for everybody: who exists is nobody's business.
//!         Box::pin(async move { right.then(|| attempt.login.to_owned()).ok_or(Denial::WrongSecret) })
//!     }
//!
//!     fn version(&self, _login: &str) -> Option<&str> {
//!         None // not known here: what was verified is remembered for a minute
//!     }
//! }
//! ```

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
