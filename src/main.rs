//! The program `heirloom`.

use std::process::ExitCode;

fn main() -> ExitCode {
    heirloom::cli::run()
}
