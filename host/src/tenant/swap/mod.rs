//! Swaps: another component takes over a tenant, whose clients notice nothing.
//!
//! An attempt goes through five steps. `prepare`: the component is compiled and kept. `warm`: an instance of it, the
//! follower, loads a snapshot or is fed the history. `follow`: it is fed what the live instance is fed, in the journal's
//! order, in the background. `shadow`, if asked for: its reactions are compared with the live ones. `cut over`: between
//! two inputs it becomes the live one. Until then nothing of it leaves, and whatever fails leaves the tenant as it was.

mod calls;
mod follower;
mod shadow;
mod told;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub(super) use calls::CallsApart;
pub(super) use follower::{Fed, Follower, Plan, Successor};
pub use shadow::Difference;
pub(super) use told::Apart;

use super::shard::{Command, Mailbox};
use crate::journal::ComponentId;

/// How a component takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwapOptions {
    /// Compare its reactions with the live ones for so long before it takes over.
    pub shadow: Option<Shadow>,
    /// What becomes of the swap where they differ.
    pub on_difference: OnDifference,
    /// Let it begin with nothing, if it can load no snapshot and the history does not reach back to `open`: what the
    /// tenant's clients subscribed to is then gone.
    pub fresh: bool,
}

/// How long reactions are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// Until so many inputs were.
    Inputs(u64),
    /// For so many milliseconds.
    Milliseconds(u64),
}

/// What becomes of a swap whose shadow differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDifference {
    /// It is refused at the first input with a difference.
    #[default]
    Refuse,
    /// The differences are reported, and the component takes over.
    Report,
}

/// The steps of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The component is compiled, checked and kept.
    Prepare,
    /// Its instance is given the tenant's state.
    Warm,
    /// It is fed what the live instance is fed.
    Follow,
    /// Its reactions are compared with the live ones.
    Shadow,
    /// It becomes the live one.
    CutOver,
}

impl Step {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Step::Prepare => "prepare",
            Step::Warm => "warm",
            Step::Follow => "follow",
            Step::Shadow => "shadow",
            Step::CutOver => "cut over",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How a swap comes along.
#[derive(Clone, Debug, PartialEq)]
pub enum SwapEvent {
    /// A step begins.
    Step(Step),
    /// The follower has seen the inputs up to `sequence`, of those up to `last`.
    Followed {
        /// The last input that it has seen.
        sequence: u64,
        /// The last input that there is.
        last: u64,
    },
    /// So many reactions were compared, and so many differed.
    Compared {
        /// How many were compared.
        inputs: u64,
        /// How many differed.
        differences: u64,
    },
    /// A reaction differs. Only the first [`MOST_DIFFERENCES`] are told.
    Difference(Box<Difference>),
}

/// How many differences are told in full; further ones are counted.
pub const MOST_DIFFERENCES: u64 = 100;

/// A swap that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The component before.
    pub from: ComponentId,
    /// The component now.
    pub to: ComponentId,
    /// The position of the record that tells of it.
    pub sequence: u64,
    /// How many reactions were compared.
    pub compared: u64,
    /// How many of these differed.
    pub differences: u64,
    /// For how long no input could be fed.
    pub paused: Duration,
}

/// Why a component did not take over. The tenant goes on as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {why}")]
pub struct SwapError {
    /// The step that failed.
    pub step: Step,
    /// Why.
    pub why: String,
}

impl SwapError {
    pub(crate) fn at(step: Step, why: impl ToString) -> SwapError {
        SwapError { step, why: why.to_string() }
    }
}

/// A swap under way. Dropping it before its end gives it up.
pub struct Swapping {
    events: mpsc::Receiver<SwapEvent>,
    outcome: oneshot::Receiver<Result<Swap, SwapError>>,
    /// The last, so that the tenant finds the others dropped.
    _end: TellEnd,
}

/// Tells the tenant that nobody waits for a swap any more.
struct TellEnd(Mailbox);

impl Drop for TellEnd {
    fn drop(&mut self) {
        self.0.tell(Command::SwapUnwatched);
    }
}

impl std::fmt::Debug for Swapping {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Swapping").finish_non_exhaustive()
    }
}

/// Who is told of a swap.
pub(crate) struct Report {
    events: mpsc::Sender<SwapEvent>,
    outcome: oneshot::Sender<Result<Swap, SwapError>>,
}

/// How many events may wait to be taken; while there are more, further ones are left out.
const EVENTS_WAITING: usize = 512;

impl Swapping {
    pub(crate) fn new(tenant: &Mailbox) -> (Report, Swapping) {
        let (sender, events) = mpsc::channel(EVENTS_WAITING);
        let (respond, outcome) = oneshot::channel();
        (Report { events: sender, outcome: respond }, Swapping { events, outcome, _end: TellEnd(tenant.clone()) })
    }

    /// What happened next; none: the swap has come to its end.
    pub async fn next(&mut self) -> Option<SwapEvent> {
        self.events.recv().await
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// See [`SwapError`].
    pub async fn end(mut self) -> Result<Swap, SwapError> {
        while self.events.recv().await.is_some() {}
        let closed = || Err(SwapError::at(Step::Prepare, "the tenant is closed"));
        (&mut self.outcome).await.unwrap_or_else(|_| closed())
    }
}

impl Report {
    pub(crate) fn event(&self, event: SwapEvent) {
        // An error means that nobody listens, or not fast enough.
        let _ = self.events.try_send(event);
    }

    pub(super) fn events(&self) -> mpsc::Sender<SwapEvent> {
        self.events.clone()
    }

    /// Nobody waits for the swap any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    pub(crate) fn end(self, outcome: Result<Swap, SwapError>) {
        // An error means that nobody waits.
        let _ = self.outcome.send(outcome);
    }
}
