//! `heirloom status`

mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::client::{absolute, block_on, daemon_of};
use crate::config::Mounts;
use crate::control::{ControlError, MountStatus};
use table::render;

/// Show what is backed up, what is not, and why
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The mounted directory [default: all mounts]
    mountpoint: Option<PathBuf>,
    /// Print JSON; its keys name their units
    #[arg(long)]
    json: bool,
}

/// The state of one mountpoint.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum StatusReport {
    /// Its daemon is running.
    Mounted(Box<MountStatus>),
    /// It was mounted before; its daemon is not running.
    NotMounted { mountpoint: PathBuf, mounted: bool },
}

impl StatusArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some(mountpoint) = &self.mountpoint else {
            return self.all_mounts();
        };
        let report = report_of(&absolute(mountpoint)?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", render(&report));
        }
        Ok(match report {
            StatusReport::Mounted(_) => ExitCode::SUCCESS,
            StatusReport::NotMounted { .. } => ExitCode::FAILURE,
        })
    }

    fn all_mounts(&self) -> anyhow::Result<ExitCode> {
        let mounts = Mounts::open()?.all()?;
        let reports = mounts
            .iter()
            .map(|mount| report_of(&mount.mountpoint))
            .collect::<anyhow::Result<Vec<_>>>()?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&reports)?);
        } else if reports.is_empty() {
            println!("nothing is mounted; mount a directory with `heirloom mount DIRECTORY`");
        } else {
            let tables: Vec<_> = reports.iter().map(render).collect();
            print!("{}", tables.join("\n"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn report_of(mountpoint: &Path) -> anyhow::Result<StatusReport> {
    match block_on(daemon_of(mountpoint)?.status())? {
        Ok(status) => Ok(StatusReport::Mounted(Box::new(status))),
        Err(ControlError::NotRunning(_)) => Ok(StatusReport::NotMounted {
            mountpoint: mountpoint.to_owned(),
            mounted: false,
        }),
        Err(error) => Err(error.into()),
    }
}
