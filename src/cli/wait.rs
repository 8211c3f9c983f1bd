//! `heirloom wait`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use heirloom_protocol::LibraryPath;

use super::client::{absolute, block_on, daemon_of};
use super::format;
use crate::control::{ControlClient, ControlError, FileReport, WaitRequest};
use crate::journal::Amount;
use crate::uploader::Connection;

/// How long one request waits: short enough to notice and report a lost connection.
const REQUEST_WAIT: Duration = Duration::from_secs(2);

/// Wait until files are backed up
///
/// Exits with code 1 if a file cannot be backed up, or if the time runs out.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// The mounted directory
    mountpoint: PathBuf,
    /// Files in it [default: all]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// The result of waiting.
#[derive(Debug)]
pub(super) enum WaitEnd {
    /// Everything is backed up except these files, which need a person's attention.
    Done(Vec<FileReport>),
    /// The time is over; these files are not backed up yet.
    TimedOut(Amount),
}

impl WaitArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mountpoint = absolute(&self.mountpoint)?;
        let daemon = daemon_of(&mountpoint)?;
        let paths = self
            .paths
            .iter()
            .map(|path| library_path(&mountpoint, path))
            .collect::<anyhow::Result<_>>()?;
        match block_on(wait_for(
            &daemon,
            paths,
            self.timeout.map(Duration::from_secs),
        ))?? {
            WaitEnd::Done(stuck) if stuck.is_empty() => Ok(ExitCode::SUCCESS),
            WaitEnd::Done(stuck) => {
                for file in stuck {
                    eprintln!(
                        "not backed up: {}: {}",
                        file.path,
                        file.why.as_deref().unwrap_or("unknown reason")
                    );
                }
                Ok(ExitCode::FAILURE)
            }
            WaitEnd::TimedOut(left) => {
                bail!("timed out: {} not backed up yet", format::amount(left))
            }
        }
    }
}

/// The path in the library of a path on the command line.
fn library_path(mountpoint: &Path, typed: &Path) -> anyhow::Result<LibraryPath> {
    let absolute = if typed.is_absolute() {
        typed.to_owned()
    } else {
        resolve_relative(mountpoint, typed)?
    };
    let relative = absolute
        .strip_prefix(mountpoint)
        .ok()
        .and_then(Path::to_str)
        .with_context(|| format!("{} is not in {}", typed.display(), mountpoint.display()))?;
    LibraryPath::new(relative).with_context(|| format!("cannot wait for {}", typed.display()))
}

/// Resolves a relative path in the working directory if that leads into the mount, else in the
/// mountpoint.
fn resolve_relative(mountpoint: &Path, typed: &Path) -> anyhow::Result<PathBuf> {
    let in_working_directory = absolute(typed)?;
    Ok(if in_working_directory.starts_with(mountpoint) {
        in_working_directory
    } else {
        mountpoint.join(typed)
    })
}

/// Waits until everything is backed up or the time is over. Prints to standard error what blocks
/// the uploads, once for each cause.
pub(super) async fn wait_for(
    daemon: &ControlClient,
    paths: Vec<LibraryPath>,
    timeout: Option<Duration>,
) -> Result<WaitEnd, ControlError> {
    let until = timeout.map(|limit| Instant::now() + limit);
    let mut reported = None;
    loop {
        let left = until.map_or(REQUEST_WAIT, |until| {
            until
                .saturating_duration_since(Instant::now())
                .min(REQUEST_WAIT)
        });
        let within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let response = daemon
            .wait(&WaitRequest {
                paths: paths.clone(),
                within_ms,
            })
            .await?;
        if response.done {
            return Ok(WaitEnd::Done(response.stuck));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(WaitEnd::TimedOut(response.left));
        }
        let blocker = match response.connection {
            Connection::LoginNeeded => Some(
                "login needed: the server rejects the token; run `heirloom login`, then mount again"
                    .to_owned(),
            ),
            Connection::Offline { why, .. } => Some(why),
            Connection::Starting | Connection::Online => None,
        };
        if blocker != reported {
            if let Some(why) = &blocker {
                eprintln!("waiting: {why}");
            }
            reported = blocker;
        }
    }
}
