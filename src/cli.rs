//! The command line of `heirloom`.
//!
//! One file for each command: its arguments, then what it does. Every error ends here, as one
//! sentence that says what happened, to what, and what to do next; the exit code is 1. Clap reports
//! an invalid command line itself, with exit code 2.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line prints its results"
)]

mod free;
mod generate;
mod login;
mod logout;
mod mount;
mod pin;
mod push;
mod restore;
mod retry;
mod status;
mod trash;
mod unmount;
mod verify;
mod wait;

mod client;
mod format;
mod server_args;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Back up every photo that lands in a mounted directory
#[derive(Debug, Parser)]
#[command(name = "heirloom", version)]
struct Heirloom {
    #[command(subcommand)]
    command: Command,
}

// Each command's description is the doc comment of its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
    Mount(mount::MountArgs),
    Unmount(unmount::UnmountArgs),
    Status(status::StatusArgs),
    Wait(wait::WaitArgs),
    Push(push::PushArgs),
    Retry(retry::RetryArgs),
    Free(free::FreeArgs),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Verify(verify::VerifyArgs),
    #[command(subcommand)]
    Trash(trash::TrashCommand),
    Restore(restore::RestoreArgs),
    Generate(generate::GenerateArgs),
}

/// Parses the command line, runs the command, and returns its exit code.
pub fn run() -> ExitCode {
    let result = match Heirloom::parse().command {
        Command::Login(login) => login.run(),
        Command::Logout(logout) => logout.run(),
        Command::Mount(mount) => mount.run(),
        Command::Unmount(unmount) => unmount.run(),
        Command::Status(status) => status.run(),
        Command::Wait(wait) => wait.run(),
        Command::Push(push) => push.run(),
        Command::Retry(retry) => retry.run(),
        Command::Free(free) => free.run(),
        Command::Pin(pin) => pin.run(),
        Command::Unpin(unpin) => unpin.run(),
        Command::Verify(verify) => verify.run(),
        Command::Trash(trash) => trash.run(),
        Command::Restore(restore) => restore.run(),
        Command::Generate(generate) => generate.run(Heirloom::command()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("heirloom: {error:#}");
        ExitCode::FAILURE
    })
}
