//! Answers of this node's tenants that reach their clients through other nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::serve::delivery::Settle;

/// How long the other node has to say that the client has the end of an answer.
const LAST_WORD: Duration = Duration::from_secs(60);

/// The answers on their way, by their names.
#[derive(Default)]
pub struct Relays(Mutex<BTreeMap<u64, Box<dyn Settle>>>);

/// An answer on its way, held by its body. Dropped before [`Relay::end`], it is broken off.
pub struct Relay {
    relays: Arc<Relays>,
    name: u64,
    ended: bool,
}

impl Relays {
    /// Another answer begins: its name, which nobody guesses, and what its body holds.
    pub fn begin(self: &Arc<Relays>, receipt: Option<Box<dyn Settle>>) -> (u64, Relay) {
        let name = crate::number();
        self.all().extend(receipt.map(|receipt| (name, receipt)));
        (name, Relay { relays: self.clone(), name, ended: false })
    }

    /// The client has so many confirmed parts; false: the answer is not known.
    pub fn acknowledge(&self, name: u64, parts: u32) -> bool {
        self.all().get_mut(&name).map(|receipt| receipt.acknowledge(parts)).is_some()
    }

    /// The client has all of it; false: the answer is not known.
    pub fn complete(&self, name: u64) -> bool {
        let receipt = self.all().remove(&name);
        receipt.map(Settle::complete).is_some()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Box<dyn Settle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// All of it was sent to the other node, which is to say that it arrived.
    pub fn end(&mut self) {
        self.ended = true;
        let (relays, name) = (self.relays.clone(), self.name);
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORD).await;
            drop(relays.all().remove(&name));
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.ended {
            drop(self.relays.all().remove(&self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::delivery::testing::Told;

    #[tokio::test(start_paused = true)]
    async fn what_another_node_says_is_told() {
        let (relays, told) = (Arc::new(Relays::default()), Told::default());
        let (name, mut relay) = relays.begin(Some(told.receipt(1)));
        assert!(relays.acknowledge(name, 2) && !relays.acknowledge(name ^ 1, 3));
        assert_eq!(told.take(), "1: 2");
        relay.end();
        drop(relay);
        assert!(relays.complete(name) && !relays.complete(name));
        assert_eq!(told.take(), "1: complete");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_nothing_is_said_of_is_gone() {
        let (relays, told) = (Arc::new(Relays::default()), Told::default());
        let (_, relay) = relays.begin(Some(told.receipt(1)));
        drop(relay);
        assert_eq!(told.take(), "1: gone");
        let (_, mut relay) = relays.begin(Some(told.receipt(2)));
        relay.end();
        tokio::time::sleep(LAST_WORD * 2).await;
        assert_eq!(told.take(), "2: gone");
    }
}
