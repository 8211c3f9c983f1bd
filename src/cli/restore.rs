//! `heirloom restore`: photos out of the trash, back to where they stood.
//!
//! To restore is to put again, so it needs no right of its own: what stands in the place goes to
//! the trash in turn, and nothing is ever lost by it. A mount shows what came back like any other
//! change of the library.

mod select;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use heirloom_protocol::LibraryPath;
use heirloom_protocol::message::{LibraryBatch, LibraryChange, LibraryOutcome, TrashedPhoto};
use heirloom_protocol::route::LIBRARY_CHANGES_MAX;

use super::client::with_server;
use super::format;
use super::server_args::ServerArgs;
use super::trash::{self, TrashScope};
use crate::remote::{Remote, RemoteError};
use select::{VersionChoice, select};

/// How often a place may change under our hands before it is given up.
const TRIES_MAX: u32 = 5;

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A photo or folder in a mounted directory, or the directory itself; with --server, a path in
    /// the library
    path: PathBuf,
    /// This version of one photo, as `heirloom trash list` shows it; without it, the last one
    #[arg(long, value_name = "N", conflicts_with = "ago")]
    version: Option<u64>,
    /// Everything as it stood so long ago: 30m, 12h, 7d. What was replaced since is replaced by
    /// what it was
    #[arg(long, value_name = "AGE", value_parser = format::seconds)]
    ago: Option<u64>,
    #[command(flatten)]
    access: ServerArgs,
}

/// What became of it.
#[derive(Debug, Default)]
struct RestoreOutcome {
    restored: u64,
    failed: Vec<(LibraryPath, String)>,
}

impl RestoreArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let TrashScope { server, below } = TrashScope::of(Some(&self.path), &self.access)?;
        let which = self.which()?;
        let (found, outcome) = with_server(server, async |login| {
            let remote = Remote::new(login)?;
            let chosen = select(trash::read(&remote).await?.photos, below.as_ref(), which);
            let found = chosen.len();
            Ok((found, put_back(&remote, chosen).await?))
        })?;
        if found == 0 {
            bail!(
                "nothing of {} is in the trash; `heirloom trash list` shows what is",
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

    fn which(&self) -> anyhow::Result<VersionChoice> {
        if let Some(version) = self.version {
            return Ok(VersionChoice::Version(version));
        }
        let Some(ago) = self.ago else {
            return Ok(VersionChoice::Last);
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the machine's clock is wrong")?;
        let then_ms = now.as_millis().saturating_sub(u128::from(ago) * 1000);
        Ok(VersionChoice::AsOf {
            then_ms: i64::try_from(then_ms).context("the machine's clock is wrong")?,
        })
    }
}

/// Puts each photo where it stood, on top of whatever stands there now.
async fn put_back(
    remote: &Remote,
    chosen: Vec<TrashedPhoto>,
) -> Result<RestoreOutcome, RemoteError> {
    let mut outcome = RestoreOutcome::default();
    let mut bases: HashMap<LibraryPath, u64> = HashMap::new();
    let mut left = chosen;
    for _ in 0..TRIES_MAX {
        let mut again = Vec::new();
        for group in left.chunks(LIBRARY_CHANGES_MAX) {
            let changes = group
                .iter()
                .map(|photo| put(photo, bases.get(&photo.path).copied()))
                .collect();
            let answer = remote.change_library(&LibraryBatch { changes }).await?;
            for (photo, said) in group.iter().zip(answer.outcomes) {
                match said {
                    LibraryOutcome::Applied { .. } => outcome.restored += 1,
                    LibraryOutcome::Conflict { current } => {
                        bases.insert(photo.path.clone(), current);
                        again.push(photo.clone());
                    }
                    LibraryOutcome::Refused { code } => {
                        outcome.failed.push((photo.path.clone(), code.to_string()));
                    }
                }
            }
        }
        left = again;
    }
    let restless =
        |photo: TrashedPhoto| (photo.path, "another device keeps changing it".to_owned());
    outcome.failed.extend(left.into_iter().map(restless));
    Ok(outcome)
}

fn put(photo: &TrashedPhoto, base: Option<u64>) -> LibraryChange {
    LibraryChange::Put {
        path: photo.path.clone(),
        fingerprint: photo.photo.fingerprint,
        mtime_ns: photo.photo.mtime_ns,
        base: base.unwrap_or(photo.current_version),
    }
}
