//! What a person types, and what they read.
//!
//! One file for each command: its arguments as typed, then what it does with them. Errors end here:
//! one sentence that says what happened, to what, and what to do next; exit code 1. A wrong command
//! line is clap's affair: exit code 2.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this room is where the program speaks"
)]

mod server_args;
mod client;
mod free;
mod login;
mod logout;
mod mount;
mod push;
mod restore;
mod retry;
mod status;
mod trash;
mod unmount;
mod verify;
mod wait;
mod format;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps every photo that lands in a directory.
#[derive(Debug, Parser)]
#[command(name = "heirloom", version, about)]
struct Heirloom {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Log in to a server; `heirloom mount` uses it from then on
    Login(login::LoginArgs),
    /// Give the token back and forget it
    Logout(logout::LogoutArgs),
    /// Mount a directory; every photo that lands in it is backed up
    Mount(mount::MountArgs),
    /// Take a mounted directory away; nothing is lost
    Unmount(unmount::UnmountArgs),
    /// Show what is backed up, what is not, and why
    Status(status::StatusArgs),
    /// Wait until files are backed up
    Wait(wait::WaitArgs),
    /// Back up files by hand, without a mount
    Push(push::PushArgs),
    /// Take failed photos in once more; what a crash or power cut tore counts as whole then
    Retry(retry::RetryArgs),
    /// Give the room of photos back that the server has; they come back when they are read
    Free(free::FreeArgs),
    /// Keep photos, or all in a folder, on this disk
    Pin(free::PinArgs),
    /// Let photos go again when room is short
    Unpin(free::PinArgs),
    /// Have the server read its copies again, and hold them against receipts and the files here
    Verify(verify::VerifyArgs),
    /// Look into the trash: what was removed or replaced
    #[command(subcommand)]
    Trash(trash::TrashCommand),
    /// Bring photos back that were removed or replaced
    Restore(restore::RestoreArgs),
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let outcome = match Heirloom::parse().command {
        Command::Login(login) => login.run(),
        Command::Logout(logout) => logout.run(),
        Command::Mount(mount) => mount.run(),
        Command::Unmount(unmount) => unmount.run(),
        Command::Status(status) => status.run(),
        Command::Wait(wait) => wait.run(),
        Command::Push(push) => push.run(),
        Command::Retry(retry) => retry.run(),
        Command::Free(free) => free.run(),
        Command::Pin(pin) => pin.pin(),
        Command::Unpin(pin) => pin.unpin(),
        Command::Verify(verify) => verify.run(),
        Command::Trash(trash) => trash.run(),
        Command::Restore(restore) => restore.run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("heirloom: {error:#}");
        ExitCode::FAILURE
    })
}
