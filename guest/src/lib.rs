//! Mail notification logic as a pure state machine.
//!
//! [`Notify`] takes inputs (changes of mailboxes, requests of clients, the passing of time), one at a time, each with
//! its moment, and answers each with a [`contract::Reaction`]. It has no clock, no chance and no I/O: the same inputs
//! give the same reactions, natively and as the WebAssembly component that this crate also is.
//!
//! In the order of the data: `changes` (what arrives), `book` (the address book and its deltas), `mailboxes` (accounts,
//! folders) and their `history` (events), `subscriptions` (who wants to hear of what), `dialects` (whose request it is),
//! `ews`, `zimbra` and `groupwise` (one file per operation), `reply` (text of answers).

// Natively there is none at all but in tests of `heap`; in the component only there, in `memory`, and in what wit-bindgen
// generates.
#![cfg_attr(not(any(target_arch = "wasm32", test)), forbid(unsafe_code))]

pub mod contract;

mod book;
mod changes;
mod history;
mod mailboxes;
mod subscriptions;

mod dialects;
mod ews;
mod groupwise;
mod soap;
mod zimbra;

mod reply;
mod turn;

mod hosts;
mod ids;
mod networks;
mod notify;
mod settings;
mod snapshot;
mod state;

#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "exported only to WebAssembly"))]
#[cfg_attr(target_arch = "wasm32", expect(unsafe_code, reason = "generated: parity::native_and_component_agree"))]
mod component;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[expect(unsafe_code, reason = "it stands for a function of C: parity::native_and_component_agree")]
mod memory;

#[cfg(any(target_arch = "wasm32", test))]
#[expect(unsafe_code, reason = "it gives out memory: heap::tests, parity::native_and_component_agree")]
mod heap;

pub use notify::{Notify, describe, identify, refuse};
pub use settings::Settings;

/// Above dlmalloc as it is published, which uses the memory that the module starts with; the standard library's own copy
/// would leave that idle.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static HEAP: heap::Heap<dlmalloc::GlobalDlmalloc> = heap::Heap::above(dlmalloc::GlobalDlmalloc);
