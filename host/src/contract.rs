//! The contract's types, generated from `wit/notify.wit`; its comments are their documentation.
//!
//! They are plain data: owned, comparable, printable. What they mean, and what a host and a plugin promise each other,
//! is said in the WIT and in `wit/README.md`. Serialised they have the names of the Rust types: so they stand in
//! journals.

mod shorthands;

/// What is generated: the types, and beside them the calls of the engine, which nobody outside sees.
mod bindings {
    #![allow(missing_docs)]

    wasmtime::component::bindgen!({
        path: "../wit",
        world: "notifier",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub(crate) use bindings::{Notifier, NotifierPre};

/// What all the other interfaces share.
pub mod types {
    pub use super::bindings::exports::postbell::notify::types::{
        Call, CallId, CallTarget, HttpTarget, Instant, LogLevel, LogLine, Moment, Place, Reaction, Rejection, Reply,
        RequestId, TcpTarget,
    };
}

/// An instance's life: what it is, how it begins, what time does, how it is kept and looked at.
pub mod lifecycle {
    pub use super::bindings::exports::postbell::notify::lifecycle::{
        Gauge, LoadError, Manifest, Pending, Restart, Route,
    };
}

/// What mail servers report.
pub mod changes {
    pub use super::bindings::exports::postbell::notify::changes::{
        Absence, AccessChange, Account, AccountChanges, Batch, BookChange, Change, Entry, Field, Folder,
        FolderAlteration, FolderCounts, FolderRelocation, Happening, Item, ItemAlteration, ItemRelocation, Member, Tag,
        Visit,
    };
}

/// Requests of mail clients: who asks, what they are told, and what became of it.
pub mod requests {
    pub use super::bindings::exports::postbell::notify::requests::{
        Access, AccountName, Claims, Credential, Denial, End, Grant, Password, Preauth, Rank, Refusal, Request,
        RequestHead, Resolution, Settlement, Span, Standing,
    };
}

/// Calls that the plugin had made.
pub mod outbound {
    pub use super::bindings::exports::postbell::notify::outbound::{Outcome, Response};
}
