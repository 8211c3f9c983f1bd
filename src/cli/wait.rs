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

/// How long one question waits: short enough to notice a connection that is lost, and tell of it.
const ASK_FOR: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// The mounted directory
    mountpoint: PathBuf,
    /// Files in it; all of it if none is named
    paths: Vec<PathBuf>,
    /// Give up after so many seconds, with exit code 1
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// How the waiting ended.
#[derive(Debug)]
pub(super) enum WaitEnd {
    /// Everything is backed up but for these, which need a person.
    Done(Vec<FileReport>),
    /// The time is over, and this is left.
    TimedOut(Amount),
}

impl WaitArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mountpoint = absolute(&self.mountpoint)?;
        let daemon = daemon_of(&mountpoint)?;
        let paths = self
            .paths
            .iter()
            .map(|path| inside(&mountpoint, path))
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
                        file.why.as_deref().unwrap_or("no reason is known")
                    );
                }
                Ok(ExitCode::FAILURE)
            }
            WaitEnd::TimedOut(left) => bail!("still {} not backed up", format::amount(left)),
        }
    }
}

/// A path as typed, as the library has it: relative to the mountpoint.
fn inside(mountpoint: &Path, typed: &Path) -> anyhow::Result<LibraryPath> {
    let absolute = if typed.is_absolute() {
        typed.to_owned()
    } else {
        relative_to(mountpoint, typed)?
    };
    let relative = absolute
        .strip_prefix(mountpoint)
        .ok()
        .and_then(Path::to_str)
        .with_context(|| format!("{} is not in {}", typed.display(), mountpoint.display()))?;
    LibraryPath::new(relative).with_context(|| format!("cannot wait for {}", typed.display()))
}

/// A relative path is taken from the working directory if that leads into the mount, else from the
/// mountpoint.
fn relative_to(mountpoint: &Path, typed: &Path) -> anyhow::Result<PathBuf> {
    let from_here = absolute(typed)?;
    Ok(if from_here.starts_with(mountpoint) {
        from_here
    } else {
        mountpoint.join(typed)
    })
}

/// Asks until everything is backed up or the time is over. Says on standard error, once, what holds
/// it up.
pub(super) async fn wait_for(
    daemon: &ControlClient,
    paths: Vec<LibraryPath>,
    timeout: Option<Duration>,
) -> Result<WaitEnd, ControlError> {
    let until = timeout.map(|limit| Instant::now() + limit);
    let mut told = None;
    loop {
        let left = until.map_or(ASK_FOR, |until| {
            until.saturating_duration_since(Instant::now()).min(ASK_FOR)
        });
        let within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let answer = daemon
            .wait(&WaitRequest {
                paths: paths.clone(),
                within_ms,
            })
            .await?;
        if answer.done {
            return Ok(WaitEnd::Done(answer.stuck));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(WaitEnd::TimedOut(answer.left));
        }
        let hindrance = match answer.connection {
            Connection::LoginNeeded => {
                Some("login needed: the server does not take the token".to_owned())
            }
            Connection::Offline { why, .. } => Some(why),
            Connection::Starting | Connection::Online => None,
        };
        if hindrance != told {
            if let Some(why) = &hindrance {
                eprintln!("waiting: {why}");
            }
            told = hindrance;
        }
    }
}
