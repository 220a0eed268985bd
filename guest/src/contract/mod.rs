//! The contract's types in plain Rust, field for field those of `wit/notify.wit`, which documents their meaning.
//!
//! The logic knows only these; `component.rs` alone knows that they also exist as WebAssembly Interface Types. A test
//! that drives [`Notify`](crate::Notify) natively builds them directly.

mod changes;
mod lifecycle;
mod outbound;
mod reactions;
mod requests;

pub use changes::*;
pub use lifecycle::*;
pub use outbound::*;
pub use reactions::*;
pub use requests::*;
