//! The numbers that clients and sources saw: none may ever be given to something else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use super::site::Wrong;

/// What was given to whom, in the whole life of the data directory.
#[derive(Debug, Default)]
pub struct Numbers {
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    subscriptions: BTreeSet<String>,
    watermarks: BTreeMap<(usize, String), String>,
    sequences: BTreeMap<u64, String>,
}

impl Numbers {
    /// A subscription got this id.
    pub fn subscription(&self, id: &str) -> Result<(), Wrong> {
        let fresh = self.given().subscriptions.insert(id.to_owned());
        if fresh { Ok(()) } else { Err(Wrong(format!("subscription id {id} was given twice"))) }
    }

    /// In this account, this event had this watermark.
    pub fn watermark(&self, account: usize, watermark: &str, event: &str) -> Result<(), Wrong> {
        once(&mut self.given().watermarks, (account, watermark.to_owned()), event, "watermark")
    }

    /// A batch had this place in the journal.
    pub fn sequence(&self, sequence: u64, batch: &str) -> Result<(), Wrong> {
        once(&mut self.given().sequences, sequence, batch, "sequence")
    }

    /// The watermarks of an account that somebody saw, each with its event.
    pub fn watermarks(&self, account: usize) -> Vec<(String, String)> {
        let given = self.given();
        let here = given.watermarks.iter().filter(|((of, _), _)| *of == account);
        here.map(|((_, watermark), event)| (watermark.clone(), event.clone())).collect()
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().expect("nobody panics with it locked")
    }
}

fn once<N: Ord + Clone + std::fmt::Debug>(
    given: &mut BTreeMap<N, String>,
    number: N,
    to: &str,
    what: &str,
) -> Result<(), Wrong> {
    let first = given.entry(number.clone()).or_insert_with(|| to.to_owned());
    if first == to { Ok(()) } else { Err(Wrong(format!("{what} {number:?} was given to {first:?} and to {to:?}"))) }
}
