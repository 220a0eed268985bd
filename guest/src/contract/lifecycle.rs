//! Interface `lifecycle`: what a plugin is, and its state as a whole.

use super::{CallId, Instant, RequestId};

/// What this plugin is and serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Manifest {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The HTTP routes that it answers.
    pub routes: Vec<Route>,
    /// The state formats that `load` accepts; the first is the one that `save` writes.
    pub state_formats: Vec<String>,
}

/// One HTTP route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Route {
    /// Path prefix, compared without regard to case.
    pub prefix: String,
    /// HTTP methods.
    pub methods: Vec<String>,
    /// Request headers that the plugin wants to see.
    pub headers: Vec<String>,
    /// How to ask for a login; empty: the login travels in the body.
    pub schemes: Vec<String>,
    /// The longest that a request may stay parked, in milliseconds.
    pub park_ms: u64,
}

/// Why a saved state was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LoadError {
    /// This version does not read that format.
    UnknownFormat(String),
    /// The bytes are not what `save` wrote.
    Corrupt(String),
}

/// How a tenant came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Restart {
    /// How long it was down, in milliseconds.
    pub down_ms: u64,
    /// Whether the state is older than what clients were told.
    pub regressed: bool,
}

/// What the state waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pending {
    /// Requests without a final part, and those with parts not yet settled; ascending.
    pub requests: Vec<RequestId>,
    /// Calls without an outcome; ascending.
    pub calls: Vec<CallId>,
    /// When `tick` is next due.
    pub wake_at: Option<Instant>,
}

/// One figure about the state.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Gauge {
    /// Its name, snake case, with its unit.
    pub name: String,
    /// What it counts.
    pub labels: Vec<(String, String)>,
    /// The figure.
    pub value: f64,
}
