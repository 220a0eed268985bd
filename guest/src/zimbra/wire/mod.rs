//! XML and JSON: both are read into one tree and written from one tree.

mod answer;
mod context;
mod json;
mod tree;
mod xml;

pub use answer::{Format, Node, Value, header, reply};
pub use context::{Context, Incoming, named, open, secrets, sniff};
pub use tree::Element;

/// Why a body could not be read.
pub type Unreadable = &'static str;
