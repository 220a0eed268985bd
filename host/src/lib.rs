//! Postbell.
pub mod contract;
