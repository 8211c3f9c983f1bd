//! `heirloom retry`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::client::{all_inside_of, block_on, daemon_of};
use super::format;
use crate::control::RetryRequest;

/// Retry failed files, accepting files left incomplete by a crash as they are
///
/// Files cut short by a crash or power cut are backed up as they are; the missing part is lost.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// Photos and folders in a mounted directory, or the directory itself
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl RetryArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = all_inside_of(&self.paths)?;
        let daemon = daemon_of(&mountpoint)?;
        let response = block_on(daemon.retry(&RetryRequest { paths }))??;
        println!("retrying {}", format::amount(response.again));
        if response.refused.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        for file in &response.refused {
            eprintln!("not retried: {}: {}", file.path, file.why);
        }
        Ok(ExitCode::FAILURE)
    }
}
