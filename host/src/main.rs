//! The `postbell` program; see `postbell::program`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    postbell::program::main()
}
