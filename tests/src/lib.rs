//! Shared by tests and benches.
