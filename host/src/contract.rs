//! The contract's types, generated from `wit/notify.wit`; its comments are their documentation.
//!
//! They are plain data: owned, comparable, printable. What they mean, and what a host and a plugin promise each other,
//! is said in the WIT and in `wit/README.md`. Serialised they have the names of the Rust types: so they stand in
//! journals.
#![allow(missing_docs)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "notifier",
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
});

mod shorthands;

pub use exports::postbell::notify::{changes, lifecycle, outbound, requests, types};
