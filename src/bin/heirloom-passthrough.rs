//! The program `heirloom-passthrough`: passes files to the kernel for the `heirloom mount` of an
//! ordinary user, which starts it.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let served = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|socket| heirloom::passthrough_helper::serve(&socket));
    let Err(error) = served else {
        return ExitCode::SUCCESS;
    };
    // If even that fails, the exit code says it.
    drop(writeln!(std::io::stderr(), "heirloom-passthrough: {error}"));
    ExitCode::FAILURE
}
