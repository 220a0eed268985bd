//! The `postbell` program; see `postbell::program`.

use std::process::ExitCode;

fn main() -> ExitCode {
    postbell::program::main()
}
