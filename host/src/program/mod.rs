//! The `postbell` program.
pub mod demo;
pub mod feed;
