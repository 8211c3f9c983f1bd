//! The program `heirloom-server`: the server itself, and the administrator's commands.

// Modules of the program and not of the library: only the program talks to an administrator.
#[path = "main/context.rs"]
mod context;
#[path = "main/devices.rs"]
mod devices;
#[path = "main/generate.rs"]
mod generate;
#[path = "main/quota.rs"]
mod quota;
#[path = "main/scrub.rs"]
mod scrub;
#[path = "main/trash.rs"]
mod trash;
#[path = "main/users.rs"]
mod users;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use heirloom_protocol::message::CrossUser;
use heirloom_server::accounts::AccountError;
use heirloom_server::config::{
    Config, ConfigError, DataDir, RateLimits, ScrubSchedule, TlsFiles, Transport,
};
use heirloom_server::serve::{ServeError, Server};
use heirloom_support::units::parse_duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The Heirloom server: stores the photos of all users, each image only once
///
/// Without a command it runs the server in the foreground until SIGTERM or SIGINT. SIGHUP reloads
/// the TLS certificate.
#[derive(Debug, Parser)]
#[command(
    name = "heirloom-server",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<ServeArguments>,
}

/// The options of the server itself.
// The struct's own doc comment would replace the program's description in --help.
#[derive(Debug, Args)]
#[command(about = None, long_about = None)]
struct ServeArguments {
    /// Directory for photos and the database; created if missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8420")]
    listen: SocketAddr,
    /// Whether a photo that another user has already stored must be uploaded again
    #[arg(long, value_enum, default_value_t = CrossUserArgument::Proof)]
    cross_user: CrossUserArgument,
    /// Use TLS with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Failed logins allowed per minute for one user name from one address
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = RateLimits::default().failed_logins_per_minute
    )]
    failed_logins_per_minute: u32,
    /// Checks allowed per second for one device, each of up to 1,000 photos
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = RateLimits::default().checks_per_second
    )]
    checks_per_second: u32,
    /// Maximum read rate for verifying stored photos, in MB/s
    #[arg(long, value_name = "MB/S", default_value_t = 4)]
    scrub_rate: u32,
    /// How often every stored photo is verified, such as 30d or 12h
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration)]
    scrub_every: Duration,
    /// Allow unencrypted connections from other machines (sends passwords and photos unencrypted)
    #[arg(long, conflicts_with = "tls_cert")]
    insecure_http: bool,
}

impl ServeArguments {
    fn transport(&self) -> Transport {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Transport::Tls(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ if self.insecure_http => Transport::PlainAnywhere,
            _ => Transport::PlainOnLoopback,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Manage users (also while the server runs)
    #[command(subcommand)]
    User(users::UserCommand),
    /// Manage the devices of a user and their access tokens (also while the server runs)
    #[command(subcommand)]
    Device(devices::DeviceCommand),
    /// Manage removed and replaced photos (also while the server runs)
    #[command(subcommand)]
    Trash(trash::TrashCommand),
    /// Verify every stored photo now (also while the server runs)
    ///
    /// Reads all stored photos and compares them with their fingerprints. Damaged photos are moved
    /// to quarantine, and the next client that has the photo uploads it again.
    Scrub(scrub::ScrubCommand),
    /// Generate man pages and shell completions
    Generate(generate::GenerateCommand),
}

/// The policy for photos that another user already stored.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CrossUserArgument {
    /// A client that proves that it has the whole photo need not upload it
    Proof,
    /// Every user uploads every photo
    Off,
}

impl From<CrossUserArgument> for CrossUser {
    fn from(policy: CrossUserArgument) -> Self {
        match policy {
            CrossUserArgument::Proof => Self::Proof,
            CrossUserArgument::Off => Self::Off,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = EnvFilter::try_from_env("HEIRLOOM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(log)
        .with_writer(io::stderr)
        .with_ansi(colours)
        // Internal errors are written to standard error; if that is closed, this would panic.
        .log_internal_errors(false)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match (arguments.command, arguments.serve) {
        (Some(Command::User(command)), _) => print(&command.run().await?),
        (Some(Command::Device(command)), _) => print(&command.run().await?),
        (Some(Command::Trash(command)), _) => print(&command.run().await?),
        (Some(Command::Scrub(command)), _) => print(&command.run().await?),
        (Some(Command::Generate(command)), _) => Ok(command.run(&Arguments::command())?),
        (None, Some(arguments)) => serve(arguments).await,
        (None, None) => Arguments::command()
            .error(
                ErrorKind::MissingRequiredArgument,
                "missing --data DIR, the directory for photos and the database",
            )
            .exit(),
    }
}

/// Runs the server until SIGTERM or SIGINT.
async fn serve(arguments: ServeArguments) -> anyhow::Result<()> {
    // Before the server reports that it is ready, so that no signal is missed after that.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let config = Config {
        cross_user: arguments.cross_user.into(),
        transport: arguments.transport(),
        rates: RateLimits {
            failed_logins_per_minute: arguments.failed_logins_per_minute,
            checks_per_second: arguments.checks_per_second,
            ..RateLimits::default()
        },
        scrub: ScrubSchedule {
            bytes_per_second: u64::from(arguments.scrub_rate) * 1_000_000,
            interval: arguments.scrub_every,
        },
        ..Config::new(DataDir::open(&arguments.data)?)
    };
    let server = Server::start(config, arguments.listen).await?;
    print(&format!("heirloom-server listens on {}", server.url()))?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload_certificate(&server).await,
        }
    }
    server.stop().await?;
    Ok(())
}

async fn reload_certificate(server: &Server) {
    match server.reload_certificate().await {
        Ok(()) => tracing::info!("reloaded the TLS certificate"),
        Err(error) => tracing::error!(
            "cannot reload the TLS certificate; the old one stays in use: {:#}",
            anyhow::Error::from(error)
        ),
    }
}

/// Prints a text to standard output, unless it is empty.
fn print(text: &str) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Prints an error with its causes, and what to do next.
fn report(error: &anyhow::Error) -> ExitCode {
    let message = format!("heirloom-server: {error:#}\n  {}\n", next_step(error));
    match io::stderr().write_all(message.as_bytes()) {
        // Without a standard error, the exit code alone reports the failure.
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

fn next_step(error: &anyhow::Error) -> String {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return error.next_step();
    }
    if let Some(error) = error.downcast_ref::<AccountError>() {
        return account_step(error).to_owned();
    }
    if let Some(error) = error.downcast_ref::<ServeError>() {
        return error.next_step().to_owned();
    }
    if error.is::<generate::GenerateError>() {
        return "choose a directory that this account can write to".to_owned();
    }
    "run the command again with HEIRLOOM_LOG=debug for details".to_owned()
}

fn account_step(error: &AccountError) -> &'static str {
    match error {
        AccountError::InvalidUserName => "choose another user name",
        AccountError::NameTaken(_) => "choose another name, or add a device to this user",
        AccountError::NoSuchUser(_) => "list the users with: heirloom-server user list --data DIR",
        AccountError::InvalidDeviceName => "choose another device name",
        AccountError::DeviceTaken(_) => "choose another name, or revoke that device first",
        AccountError::NoSuchDevice { .. } => {
            "list the devices with: heirloom-server device list USER --data DIR"
        }
        AccountError::InvalidPassword => "choose another password",
        AccountError::Busy | AccountError::Hash(_) | AccountError::Random(_) => "try again",
        AccountError::Index(_) => {
            "check that this account owns the data directory, and that its disk is not full"
        }
    }
}
