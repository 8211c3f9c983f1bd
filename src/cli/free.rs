//! `heirloom free`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use heirloom_support::units::parse_duration;

use super::client::{block_on, daemon_of, library_paths};
use super::format;
use crate::control::{ControlClient, ControlError, FailingFile, FreeRequest, FreeResponse};
use crate::journal::Amount;

/// Free disk space by removing local copies of backed-up photos
///
/// A local copy is removed once the server confirms, from its index, that it has the photo. The
/// photo stays visible and is downloaded again when it is opened. To have the server read its
/// copies first, run `heirloom verify`.
#[derive(Debug, Args)]
pub(super) struct FreeArgs {
    /// Photos and folders in a mounted directory, or the directory itself [default: the only mount]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Free only photos that were not used for this long, such as 30d, 12h or 90m
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    older: Option<Duration>,
}

/// The results of all pages.
#[derive(Debug, Default)]
struct FreeTotal {
    freed: Amount,
    kept: Vec<FailingFile>,
    kept_files: u64,
}

impl FreeArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = library_paths(&self.paths)?;
        let named = !paths.is_empty();
        let daemon = daemon_of(&mountpoint)?;
        let request = FreeRequest {
            paths,
            unused_for_s: self.older.map(|older| older.as_secs()),
            after: None,
        };
        let total = block_on(free_all(&daemon, request))??;
        println!("freed {}", format::amount(total.freed));
        // Freeing a whole mount means whatever can be freed; for a named photo, the reason matters.
        if !named || total.kept_files == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        for file in &total.kept {
            eprintln!("not freed: {}: {}", file.path, file.why);
        }
        Ok(ExitCode::FAILURE)
    }
}

/// Frees page after page, so that no request takes long.
async fn free_all(
    daemon: &ControlClient,
    mut request: FreeRequest,
) -> Result<FreeTotal, ControlError> {
    let mut total = FreeTotal::default();
    loop {
        let FreeResponse {
            freed,
            kept,
            kept_files,
            next,
        } = daemon.free(&request).await?;
        total.freed = Amount {
            files: total.freed.files + freed.files,
            bytes: total.freed.bytes + freed.bytes,
        };
        total.kept.extend(kept);
        total.kept_files += kept_files;
        match next {
            Some(next) => request.after = Some(next),
            None => return Ok(total),
        }
    }
}
