//! `heirloom unmount`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::{absolute, block_on, daemon_of};
use super::format;
use super::wait::{WaitEnd, wait_for};
use crate::control::{ControlError, UnmountResponse};
use crate::mount::Mount;

/// How long the daemon may take to stop after its mount is gone: requests under way have their own
/// limits below this.
const STOP_WITHIN: Duration = Duration::from_mins(1);

#[derive(Debug, Args)]
pub(super) struct UnmountArgs {
    /// The mounted directory
    mountpoint: PathBuf,
    /// First wait until everything is backed up
    #[arg(long)]
    wait: bool,
    /// Wait at most so many seconds; with --wait, the mount stays if they are not enough
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl UnmountArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mountpoint = absolute(&self.mountpoint)?;
        let daemon = daemon_of(&mountpoint)?;
        let timeout = self.timeout.map(Duration::from_secs);
        if self.wait {
            let end = block_on(wait_for(&daemon, Vec::new(), timeout))??;
            if let WaitEnd::TimedOut(left) = end {
                bail!(
                    "still {} not backed up; {} stays mounted",
                    format::amount(left),
                    mountpoint.display()
                );
            }
        }
        match block_on(daemon.unmount())? {
            Ok(UnmountResponse::Unmounted { pid, left }) => {
                await_end(pid, timeout.filter(|_| !self.wait).unwrap_or(STOP_WITHIN))?;
                println!("unmounted {}", mountpoint.display());
                if left.files > 0 {
                    println!(
                        "not backed up yet: {}; kept here, and sent after the next mount",
                        format::amount(left)
                    );
                }
                Ok(ExitCode::SUCCESS)
            }
            Ok(UnmountResponse::Busy) => {
                bail!(
                    "{0} is in use; close what uses it (`fuser -vm {0}` names it) and try again",
                    mountpoint.display()
                )
            }
            Err(ControlError::NotRunning(_)) if Mount::clear_stale(&mountpoint)? => {
                println!(
                    "unmounted {}, which a crashed daemon had left",
                    mountpoint.display()
                );
                println!(
                    "nothing is lost: the next `heirloom mount {}` goes on where it ended",
                    mountpoint.display()
                );
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot unmount {}", mountpoint.display()))
            }
        }
    }
}

/// Returns when the process has ended, so that a mount right after finds everything free.
fn await_end(pid: u32, within: Duration) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        bail!("the daemon named no process")
    };
    let ended = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        opened => opened.context("cannot watch the daemon end")?,
    };
    let limit = Timespec::try_from(within).context("--timeout is too long")?;
    match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit))
        .context("cannot watch the daemon end")?
    {
        0 => bail!(
            "unmounted, but the daemon (process {pid}) is still stopping after {within:?}",
            pid = pid.as_raw_nonzero()
        ),
        _ => Ok(()),
    }
}
