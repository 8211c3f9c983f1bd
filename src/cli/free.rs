//! `heirloom free`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use heirloom_protocol::LibraryPath;

use super::client::{all_inside_of, block_on, daemon_of, inside_of};
use super::format;
use crate::config::Mounts;
use crate::control::{ControlClient, ControlError, FailingFile, FreeRequest, FreeResponse};
use crate::journal::Amount;

#[derive(Debug, Args)]
pub(super) struct FreeArgs {
    /// Photos and folders in a mounted directory, or the directory itself; without any, all of the
    /// only mount
    paths: Vec<PathBuf>,
    /// Only what was not used for so long: 30d, 12h, 90m
    #[arg(long, value_name = "AGE", value_parser = format::seconds)]
    older: Option<u64>,
}

/// What was freed, and what not.
#[derive(Debug, Default)]
struct FreeTotal {
    freed: Amount,
    kept: Vec<FailingFile>,
    kept_files: u64,
}

impl FreeArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = places(&self.paths)?;
        let named = !paths.is_empty();
        let daemon = daemon_of(&mountpoint)?;
        let sum = block_on(free_all(
            &daemon,
            &FreeRequest {
                paths,
                unused_for_s: self.older,
                after: None,
            },
        ))??;
        println!("freed {}", format::amount(sum.freed));
        // Who frees everything wants what can be freed; who names a photo wants to know why not.
        if !named || sum.kept_files == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        for file in &sum.kept {
            eprintln!("kept: {}: {}", file.path, file.why);
        }
        Ok(ExitCode::FAILURE)
    }
}

/// The mount that all paths lie in, and the paths below it; none for all of it, and of the only
/// mount if none is typed.
pub(super) fn places(typed: &[PathBuf]) -> anyhow::Result<(PathBuf, Vec<LibraryPath>)> {
    if typed.is_empty() {
        Ok((only_mount()?, Vec::new()))
    } else {
        all_inside_of(typed)
    }
}

fn only_mount() -> anyhow::Result<PathBuf> {
    let mut all = Mounts::open()?.all()?;
    match (all.pop(), all.is_empty()) {
        (Some(mount), true) => Ok(mount.mountpoint),
        (None, _) => bail!("nothing is mounted; `heirloom mount DIRECTORY` mounts a directory"),
        (Some(_), false) => bail!("there are several mounts; name one of them"),
    }
}

/// Frees one page after the other, so that no question takes long.
async fn free_all(
    daemon: &ControlClient,
    request: &FreeRequest,
) -> Result<FreeTotal, ControlError> {
    let (mut sum, mut request) = (FreeTotal::default(), request.clone());
    loop {
        let FreeResponse {
            freed,
            kept,
            kept_files,
            next,
        } = daemon.free(&request).await?;
        sum.freed = Amount {
            files: sum.freed.files + freed.files,
            bytes: sum.freed.bytes + freed.bytes,
        };
        sum.kept.extend(kept);
        sum.kept_files += kept_files;
        match next {
            Some(next) => request.after = Some(next),
            None => return Ok(sum),
        }
    }
}

/// `heirloom pin` and `heirloom unpin`
#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// Photos and folders in a mounted directory
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

impl PinArgs {
    pub(super) fn pin(&self) -> anyhow::Result<ExitCode> {
        self.each(|daemon, path| block_on(daemon.pin(path)))
    }

    pub(super) fn unpin(&self) -> anyhow::Result<ExitCode> {
        self.each(|daemon, path| block_on(daemon.unpin(path)))
    }

    fn each(
        &self,
        ask: impl Fn(&ControlClient, &LibraryPath) -> anyhow::Result<Result<(), ControlError>>,
    ) -> anyhow::Result<ExitCode> {
        for typed in &self.paths {
            let (mountpoint, path) = inside_of(typed)?;
            let path = path.with_context(|| whole_mount(typed))?;
            ask(&daemon_of(&mountpoint)?, &path)?
                .with_context(|| format!("cannot pin {}", typed.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn whole_mount(typed: &Path) -> String {
    format!(
        "{} is a whole mount; name photos or folders in it",
        typed.display()
    )
}
