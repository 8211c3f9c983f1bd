//! `heirloom retry`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::client::{all_inside_of, block_on, daemon_of};
use super::format;
use crate::control::RetryRequest;

/// Of what a crash or a power cut tore, that which is there is backed up: no program says any more
/// how much it was to be.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// Photos and folders in a mounted directory, or the directory itself
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

impl RetryArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = all_inside_of(&self.paths)?;
        let daemon = daemon_of(&mountpoint)?;
        let answer = block_on(daemon.retry(&RetryRequest { paths }))??;
        println!("tried again: {}", format::amount(answer.again));
        if answer.refused.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        for file in &answer.refused {
            eprintln!("not tried again: {}: {}", file.path, file.why);
        }
        Ok(ExitCode::FAILURE)
    }
}
