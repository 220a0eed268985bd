//! Calls that plugins ask for, and who makes them.
//!
//! A plugin has no network: it names calls in its reactions, and the host makes them after the commit, or does not. What
//! makes them is a [`Outbound`]; a host without one refuses all. The program's is [`caller::Caller`], which trusts no
//! address that it is given.

#[cfg(feature = "program")]
pub mod addresses;
#[cfg(feature = "program")]
pub mod caller;
#[cfg(feature = "program")]
mod http;
#[cfg(feature = "program")]
mod lines;
#[cfg(feature = "program")]
mod names;

pub use crate::contract::outbound::{Outcome, Response};
pub use crate::contract::types::{Call, CallTarget, HttpTarget, TcpTarget};

/// Makes outbound calls.
pub trait Outbound: Send + Sync + 'static {
    /// Begins a call of this tenant's and returns at once: it is called on the thread that feeds the tenant. Whatever
    /// becomes of the call is told by `done`, from any thread.
    fn call(&self, tenant: &str, call: Call, done: Done);
}

/// Who waits for the outcome of a call. Dropped without one, it tells that the call failed.
pub struct Done(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Done {
    /// `tell` hears the outcome, once.
    pub fn new(tell: impl FnOnce(Outcome) + Send + 'static) -> Done {
        Done(Some(Box::new(tell)))
    }

    /// The call has ended.
    pub fn finish(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(tell) = self.0.take() {
            tell(outcome);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.tell(Outcome::Failed("the call was given up".into()));
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Done").finish_non_exhaustive()
    }
}

/// Makes none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCalls;

impl Outbound for NoCalls {
    fn call(&self, _tenant: &str, _call: Call, done: Done) {
        done.finish(Outcome::Refused("this host makes no outbound calls".into()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whoever_waits_hears_once() {
        let (told, outcomes) = channel();
        let done = || {
            let told = told.clone();
            Done::new(move |outcome| told.send(outcome).expect("the test listens"))
        };
        done().finish(Outcome::Refused("no".into()));
        drop(done());
        let heard: Vec<_> = outcomes.try_iter().collect();
        assert_eq!(heard, [Outcome::Refused("no".into()), Outcome::Failed("the call was given up".into())]);
    }
}
