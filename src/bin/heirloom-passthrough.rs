//! The program `heirloom-passthrough`: lends files to the kernel for an ordinary user's `heirloom mount`,
//! which starts it.

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
    // Where even that cannot be said, the code says it.
    drop(writeln!(std::io::stderr(), "heirloom-passthrough: {error}"));
    ExitCode::FAILURE
}
