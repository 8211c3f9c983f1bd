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

/// How long the daemon may take to stop once its mount is gone; requests in flight have shorter
/// limits of their own.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// Unmount a directory (uploads continue at the next mount)
#[derive(Debug, Args)]
pub(super) struct UnmountArgs {
    /// The mounted directory
    mountpoint: PathBuf,
    /// Wait until everything is backed up, then unmount
    #[arg(long)]
    wait: bool,
    /// Give up after this many seconds; with --wait, the directory then stays mounted
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
                    "timed out: {} not backed up yet; {} stays mounted",
                    format::amount(left),
                    mountpoint.display()
                );
            }
        }
        match block_on(daemon.unmount())? {
            Ok(UnmountResponse::Unmounted { pid, left }) => {
                wait_for_exit(pid, timeout.filter(|_| !self.wait).unwrap_or(STOP_TIMEOUT))?;
                println!("unmounted {}", mountpoint.display());
                if left.files > 0 {
                    println!(
                        "not backed up yet: {}; kept on this disk and uploaded after the next \
                         mount",
                        format::amount(left)
                    );
                }
                Ok(ExitCode::SUCCESS)
            }
            Ok(UnmountResponse::Busy) => {
                bail!(
                    "{0} is in use; close the programs that use it (`fuser -vm {0}` lists them) and \
                     try again",
                    mountpoint.display()
                )
            }
            Err(ControlError::NotRunning(_)) if Mount::clear_stale(&mountpoint)? => {
                println!(
                    "unmounted {}, which a crashed daemon left behind",
                    mountpoint.display()
                );
                println!(
                    "nothing is lost: uploads continue after the next `heirloom mount {}`",
                    mountpoint.display()
                );
                Ok(ExitCode::SUCCESS)
            }
            Err(ControlError::NotRunning(_)) => {
                bail!(
                    "{} is not mounted, so there is nothing to unmount",
                    mountpoint.display()
                )
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot unmount {}", mountpoint.display()))
            }
        }
    }
}

/// Waits until the process has ended, so that the directory can be mounted again at once.
fn wait_for_exit(pid: u32, within: Duration) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        bail!("unmounted, but the daemon reported no valid process id")
    };
    let ended = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        opened => opened.context("cannot wait for the daemon to stop")?,
    };
    let limit = Timespec::try_from(within).context("the value of --timeout is too large")?;
    match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit))
        .context("cannot wait for the daemon to stop")?
    {
        0 => bail!(
            "unmounted, but the daemon (process {pid}) has not stopped after {within:?}; see its \
             log",
            pid = pid.as_raw_nonzero()
        ),
        _ => Ok(()),
    }
}
