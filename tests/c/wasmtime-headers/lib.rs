//! Only a crate with a library can name another one.
