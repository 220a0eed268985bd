//! How long things take, of all tenants of a host together: a histogram for each tenant would be too many.

use std::time::Duration;

use super::histogram::{Histogram, HistogramFigures};

/// The contract's functions whose time is told apart.
pub(crate) const FUNCTIONS: [&str; 9] =
    ["open", "configure", "tick", "restarted", "drain", "ingest", "answer", "settled", "finished"];

/// How long things take on a host.
#[derive(Debug, Default)]
pub struct Timings {
    guest: [Histogram; FUNCTIONS.len()],
    commit: Histogram,
    wake: Histogram,
    opening: Histogram,
}

impl Timings {
    /// Processor time of the plugins' inputs, by the contract's function.
    pub fn guest(&self) -> impl Iterator<Item = (&'static str, HistogramFigures)> {
        FUNCTIONS.into_iter().zip(self.guest.iter().map(Histogram::figures))
    }

    /// From an append to its commit.
    pub fn commit(&self) -> HistogramFigures {
        self.commit.figures()
    }

    /// From the acceptance of a batch of changes until a client that was parked is sent what that brought it.
    pub fn wake(&self) -> HistogramFigures {
        self.wake.figures()
    }

    /// From an input or a timer until the tenant that slept has an instance for it.
    pub fn opening(&self) -> HistogramFigures {
        self.opening.figures()
    }

    pub(crate) fn fed(&self, function: &str, time: Duration) {
        let index = FUNCTIONS.iter().position(|known| *known == function);
        self.guest[index.expect("every input's function is listed")].observe(time);
    }

    pub(crate) fn committed(&self, time: Duration) {
        self.commit.observe(time);
    }

    pub(crate) fn woke(&self, time: Duration) {
        self.wake.observe(time);
    }

    pub(crate) fn opened(&self, time: Duration) {
        self.opening.observe(time);
    }
}
