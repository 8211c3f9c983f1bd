//! `heirloom pin` and `heirloom unpin`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use heirloom_protocol::LibraryPath;

use super::client::{block_on, daemon_of, inside_of};
use crate::control::ControlClient;

/// Keep photos and folders on this disk
///
/// Pinned photos are downloaded if their bytes are only on the server, and are never freed. A
/// pinned folder includes everything in it.
#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// Photos and folders in a mounted directory
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Allow pinned photos to be freed again
#[derive(Debug, Args)]
pub(super) struct UnpinArgs {
    /// Photos and folders in a mounted directory
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl PinArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        for typed in &self.paths {
            let (daemon, path) = daemon_and_path(typed)?;
            block_on(daemon.pin(&path))?
                .with_context(|| format!("cannot pin {}", typed.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl UnpinArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        for typed in &self.paths {
            let (daemon, path) = daemon_and_path(typed)?;
            block_on(daemon.unpin(&path))?
                .with_context(|| format!("cannot unpin {}", typed.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn daemon_and_path(typed: &Path) -> anyhow::Result<(ControlClient, LibraryPath)> {
    let (mountpoint, path) = inside_of(typed)?;
    let path = path.with_context(|| {
        format!(
            "{} is a mountpoint; name photos or folders in it",
            typed.display()
        )
    })?;
    Ok((daemon_of(&mountpoint)?, path))
}
