//! The program `heirloom-server`.

// Beside this file and not in the library: only the program speaks to an administrator.
#[path = "main/admin.rs"]
mod admin;
#[path = "main/scrub.rs"]
mod scrub;
#[path = "main/trash.rs"]
mod trash;
#[path = "main/words.rs"]
mod words;

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
    Config, ConfigError, DataDir, RateLimits, ScrubPlan, TlsFiles, Transport,
};
use heirloom_server::serve::{ServeError, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Keeps photos, once each, for everybody who owns them.
#[derive(Debug, Parser)]
#[command(
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

/// Runs the server in the foreground, until SIGTERM or SIGINT.
#[derive(Debug, Args)]
struct ServeArguments {
    /// Directory that everything is kept in; made if missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8420")]
    listen: SocketAddr,
    /// Photos that another user brought: link them after a proof of possession, or only after a
    /// full upload
    #[arg(long, value_enum, default_value_t = CrossUserPolicy::Proof)]
    cross_user: CrossUserPolicy,
    /// Speak TLS with this certificate (PEM); read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Wrong passwords that one name may have from one address in a minute
    #[arg(long, value_name = "NUMBER", default_value_t = RateLimits::default().failed_logins_per_minute)]
    failed_logins_per_minute: u32,
    /// Checks that one device may ask for in a second, each of up to 1,000 images
    #[arg(long, value_name = "NUMBER", default_value_t = RateLimits::default().checks_per_second)]
    checks_per_second: u32,
    /// How fast stored images are read again to find what is damaged, in MB/s
    #[arg(long, value_name = "MB/S", default_value_t = 4)]
    scrub_rate: u32,
    /// How often each is read again: 30d, 12h
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = words::duration)]
    scrub_every: Duration,
    /// Let photos and tokens cross the network in the clear, where others can read them
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
    /// Users: who may come in; works whether or not the server runs
    #[command(subcommand)]
    User(admin::UserCommand),
    /// Devices: the tokens of a user; works whether or not the server runs
    #[command(subcommand)]
    Device(admin::DeviceCommand),
    /// The trash: what was removed or replaced; works whether or not the server runs
    #[command(subcommand)]
    Trash(trash::TrashCommand),
    /// Reads every stored image again, now, and finds what is damaged; works whether or not the
    /// server runs
    Scrub(scrub::ScrubCommand),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CrossUserPolicy {
    Proof,
    Off,
}

impl From<CrossUserPolicy> for CrossUser {
    fn from(policy: CrossUserPolicy) -> Self {
        match policy {
            CrossUserPolicy::Proof => Self::Proof,
            CrossUserPolicy::Off => Self::Off,
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
        // It would be said on stderr, which cannot be written: a panic.
        .log_internal_errors(false)
        .init();
    match carry_out(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

#[tokio::main]
async fn carry_out(arguments: Arguments) -> anyhow::Result<()> {
    match (arguments.command, arguments.serve) {
        (Some(Command::User(command)), _) => say(&command.carry_out().await?),
        (Some(Command::Device(command)), _) => say(&command.carry_out().await?),
        (Some(Command::Trash(command)), _) => say(&command.carry_out().await?),
        (Some(Command::Scrub(command)), _) => say(&command.carry_out().await?),
        (None, Some(serve)) => run(serve).await,
        (None, None) => Arguments::command()
            .error(ErrorKind::MissingRequiredArgument, "--data DIR is needed")
            .exit(),
    }
}

async fn run(arguments: ServeArguments) -> anyhow::Result<()> {
    // Before the server says that it is ready: a signal must find somebody who listens for it.
    let mut terminated = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hung_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let config = Config {
        cross_user: arguments.cross_user.into(),
        transport: arguments.transport(),
        rates: RateLimits {
            failed_logins_per_minute: arguments.failed_logins_per_minute,
            checks_per_second: arguments.checks_per_second,
            ..RateLimits::default()
        },
        scrub: ScrubPlan {
            bytes_per_second: u64::from(arguments.scrub_rate) * 1_000_000,
            every: arguments.scrub_every,
        },
        ..Config::new(DataDir::open(&arguments.data)?)
    };
    let server = Server::start(config, arguments.listen).await?;
    say(&format!("heirloom-server listens on {}", server.url()))?;
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            _ = hung_up.recv() => renew_certificate(&server).await,
        }
    }
    server.stop().await?;
    Ok(())
}

async fn renew_certificate(server: &Server) {
    match server.renew_certificate().await {
        Ok(()) => tracing::info!("SIGHUP: read the certificate again"),
        Err(error) => tracing::error!(
            "SIGHUP: {:#}; the old certificate stays",
            anyhow::Error::from(error)
        ),
    }
}

/// Prints a text, unless it is empty.
fn say(text: &str) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("write to standard output")
}

/// One sentence, and what to do next.
fn complain(error: &anyhow::Error) -> ExitCode {
    let complaint = format!("heirloom-server: {error:#}\n  {}\n", next_step(error));
    match io::stderr().write_all(complaint.as_bytes()) {
        // Without a standard error the exit code has to say it all.
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
    "run it again with HEIRLOOM_LOG=debug to see more".to_owned()
}

fn account_step(error: &AccountError) -> &'static str {
    match error {
        AccountError::MalformedName => "choose a name of those letters",
        AccountError::NameTaken(_) => {
            "choose another name, or use the token that was printed for this one"
        }
        AccountError::NoSuchUser(_) => {
            "add the user first: heirloom-server user add NAME --data DIR"
        }
        AccountError::MalformedDevice => "choose a name of those characters",
        AccountError::DeviceTaken(_) => "choose another name, or revoke that device first",
        AccountError::NoSuchDevice { .. } => {
            "see which there are: heirloom-server device list USER --data DIR"
        }
        AccountError::UnfitPassword => "choose another password",
        AccountError::Busy | AccountError::Hash(_) | AccountError::Random(_) => "try again",
        AccountError::Index(_) => {
            "check that the data directory belongs to this account and that its disk has room"
        }
    }
}
