//! `heirloom restore`: puts photos from the trash back under their old names.
//!
//! Restoring is an ordinary change of the library, so it needs no permission of its own: a photo
//! that has the name now goes to the trash in turn, and nothing is lost. Mounts show restored
//! photos like any other change.

mod select;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use heirloom_protocol::LibraryPath;
use heirloom_protocol::message::{LibraryBatch, LibraryChange, LibraryOutcome, TrashedPhoto};
use heirloom_protocol::route::LIBRARY_CHANGES_MAX;
use heirloom_support::units::parse_duration;

use super::client::with_server;
use super::format;
use super::server_args::ServerArgs;
use super::trash::{TrashScope, read_trash};
use crate::remote::{Remote, RemoteError};
use select::{VersionChoice, select};

/// Attempts to restore a photo under a name that another device changes at the same time.
const ATTEMPTS_MAX: u32 = 5;

/// Restore removed or replaced photos from the trash
///
/// For a photo, restores the version removed or replaced last. For a folder, restores every photo
/// whose name is free. A photo that this replaces goes to the trash.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A photo or folder in a mounted directory, or the directory itself; with --server, a path in
    /// the library
    path: PathBuf,
    /// Restore this version of a photo, as listed by `heirloom trash list`
    #[arg(long, value_name = "N", conflicts_with = "ago")]
    version: Option<u64>,
    /// Restore every photo removed or replaced within this time, such as 30m, 12h or 7d, in place
    /// of the current one. Does not undo renames or changed times
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    ago: Option<Duration>,
    #[command(flatten)]
    access: ServerArgs,
}

/// The number of restored photos, and the failures.
#[derive(Debug, Default)]
struct RestoreOutcome {
    restored: u64,
    failed: Vec<(LibraryPath, String)>,
}

impl RestoreArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let TrashScope { server, below } = TrashScope::of(Some(&self.path), &self.access)?;
        let version = self.version_choice()?;
        let (found, outcome) = with_server(server, async |login| {
            let remote = Remote::new(login)?;
            let chosen = select(read_trash(&remote).await?.photos, below.as_ref(), version);
            let found = chosen.len();
            Ok((found, restore(&remote, chosen).await?))
        })?;
        if found == 0 {
            bail!(
                "nothing from {} is in the trash; `heirloom trash list` shows what is",
                self.path.display()
            );
        }
        for (path, why) in &outcome.failed {
            eprintln!("not restored: {path}: {why}");
        }
        println!("restored {}", format::files(outcome.restored));
        Ok(if outcome.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn version_choice(&self) -> anyhow::Result<VersionChoice> {
        if let Some(version) = self.version {
            return Ok(VersionChoice::Number(version));
        }
        let Some(ago) = self.ago else {
            return Ok(VersionChoice::Last);
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("this computer's clock is wrong; set it")?;
        let then_ms = now.as_millis().saturating_sub(ago.as_millis());
        Ok(VersionChoice::AsOf {
            then_ms: i64::try_from(then_ms).context("this computer's clock is wrong; set it")?,
        })
    }
}

/// Puts each photo back under its name, in place of the photo that has the name now.
async fn restore(
    remote: &Remote,
    chosen: Vec<TrashedPhoto>,
) -> Result<RestoreOutcome, RemoteError> {
    let mut outcome = RestoreOutcome::default();
    let mut bases: HashMap<LibraryPath, u64> = HashMap::new();
    let mut left = chosen;
    for _ in 0..ATTEMPTS_MAX {
        let mut conflicting = Vec::new();
        for group in left.chunks(LIBRARY_CHANGES_MAX) {
            let changes = group
                .iter()
                .map(|photo| put(photo, bases.get(&photo.path).copied()))
                .collect();
            let response = remote.change_library(&LibraryBatch { changes }).await?;
            for (photo, result) in group.iter().zip(response.outcomes) {
                match result {
                    LibraryOutcome::Applied { .. } => outcome.restored += 1,
                    LibraryOutcome::Conflict { current } => {
                        bases.insert(photo.path.clone(), current);
                        conflicting.push(photo.clone());
                    }
                    LibraryOutcome::Refused { code } => {
                        outcome.failed.push((photo.path.clone(), code.to_string()));
                    }
                }
            }
        }
        left = conflicting;
    }
    let why = "another device keeps changing the photo of this name";
    outcome
        .failed
        .extend(left.into_iter().map(|photo| (photo.path, why.to_owned())));
    Ok(outcome)
}

/// The change that restores a photo, based on the version `base` of the name.
fn put(photo: &TrashedPhoto, base: Option<u64>) -> LibraryChange {
    LibraryChange::Put {
        path: photo.path.clone(),
        fingerprint: photo.photo.fingerprint,
        mtime_ns: photo.photo.mtime_ns,
        base: base.unwrap_or(photo.current_version),
    }
}
