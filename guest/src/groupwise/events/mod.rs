//! GroupWise events: what applications have configured under their keys, and the records that each key has.
//!
//! Every key has its own records of what happened in its mailbox, until they are removed or too old. What happened is
//! kept once for each mailbox and counted by the keys that have it, so that a change into a thousand keys costs a
//! thousand numbers.
//!
//! The interface has no word for "you have missed something". A key of which records could not be recorded or kept (a
//! gap, a limit, a state that is older than what clients were told) is lost: its configuration and its records are gone
//! to clients, as when GroupWise deletes a key that nobody has read for too long, and they configure it anew.

pub mod configuration;
mod gauges;
pub mod key;
mod lines;
mod log;
mod maintenance;
pub mod news;
pub mod notify;
pub mod occurrence;
mod reads;
mod restore;
mod store;
pub mod times;
pub mod words;

pub use key::{Key, KeyNo};
pub use lines::{Line, Target};
pub use log::Log;
pub use occurrence::{Occurrence, Uid};
pub use reads::Read;
pub use store::{Counts, Events};
