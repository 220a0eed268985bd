//! Postbell's notification logic.
