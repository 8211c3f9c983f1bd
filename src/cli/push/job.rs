//! One run of `heirloom push`: uploads photos concurrently, then adds their names to the library.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use heirloom_protocol::message::{LibraryBatch, LibraryChange, LibraryOutcome};
use heirloom_protocol::{ByteRange, route};
use indicatif::ProgressBar;

use super::collect::LocalPhoto;
use crate::config::Login;
use crate::remote::Remote;
use crate::spool::{Spool, fingerprint_of};
use crate::uploader::{BackupOutcome, ImageFile, ProgressSink, Transport, back_up};

/// Photos uploaded concurrently: enough to saturate the network with small ones; the bytes in
/// flight have a limit of their own.
const CONCURRENT_PHOTOS: usize = 16;
/// Attempts to add a name that another device changes at the same time.
const NAME_ATTEMPTS_MAX: u32 = 3;

/// One run of `heirloom push`.
pub(super) struct PushJob {
    remote: Remote,
    transport: Transport,
    bar: ProgressBar,
}

/// The results: backed-up photos by how that was done, and failures.
#[derive(Debug, Default)]
pub(super) struct PushOutcome {
    pub(super) uploaded: u64,
    pub(super) already: u64,
    pub(super) linked: u64,
    pub(super) failed: Vec<(PathBuf, String)>,
}

impl PushJob {
    pub(super) fn new(login: &Login, bar: ProgressBar) -> anyhow::Result<Self> {
        let remote = Remote::new(login)?;
        Ok(Self {
            transport: Transport::new(remote.clone()),
            remote,
            bar,
        })
    }

    pub(super) async fn run(self, photos: Vec<LocalPhoto>) -> anyhow::Result<PushOutcome> {
        // Fails early, before any photo is read, if the server or the token cannot be used.
        self.remote
            .session()
            .await
            .context("cannot use the server")?;
        let mut outcome = PushOutcome::default();
        let mut names = Vec::new();
        let mut uploads = stream::iter(photos)
            .map(|photo| async { (photo.path.clone(), self.upload(photo).await) })
            .buffer_unordered(CONCURRENT_PHOTOS);
        while let Some((path, uploaded)) = uploads.next().await {
            match uploaded {
                Ok((backed_up, name)) => {
                    outcome.count(backed_up);
                    names.push((path, name));
                }
                Err(error) => outcome.failed.push((path, format!("{error:#}"))),
            }
            if names.len() == route::LIBRARY_CHANGES_MAX {
                self.add_names(std::mem::take(&mut names), &mut outcome)
                    .await?;
            }
        }
        self.add_names(names, &mut outcome).await?;
        Ok(outcome)
    }

    /// Uploads one photo; returns how that was done, and the change that adds its name.
    async fn upload(&self, photo: LocalPhoto) -> anyhow::Result<(BackupOutcome, LibraryChange)> {
        let path = photo.path.clone();
        let (image, mtime_ns) = tokio::task::spawn_blocking(move || open(&path))
            .await
            .context("cannot read the file")??;
        let fingerprint = image.fingerprint();
        let progress = Arc::new(PhotoProgress {
            bar: self.bar.clone(),
            sent_bytes: AtomicU64::new(0),
        });
        let backed_up = back_up(
            &self.transport,
            Arc::new(image),
            Arc::clone(&progress) as Arc<dyn ProgressSink>,
        )
        .await?;
        progress.on_progress(photo.size);
        Ok((
            backed_up,
            LibraryChange::Put {
                path: photo.library_path,
                fingerprint,
                mtime_ns,
                base: 0,
            },
        ))
    }

    /// Adds names to the library. A photo that had the name before goes to the trash.
    async fn add_names(
        &self,
        mut names: Vec<(PathBuf, LibraryChange)>,
        outcome: &mut PushOutcome,
    ) -> anyhow::Result<()> {
        for _ in 0..NAME_ATTEMPTS_MAX {
            if names.is_empty() {
                return Ok(());
            }
            let changes = names.iter().map(|(_, change)| change.clone()).collect();
            let response = self
                .remote
                .change_library(&LibraryBatch { changes })
                .await
                .context("cannot add the names to the library")?;
            let mut conflicting = Vec::new();
            for ((path, change), outcome_of_name) in names.into_iter().zip(response.outcomes) {
                match outcome_of_name {
                    LibraryOutcome::Applied { .. } => {}
                    LibraryOutcome::Conflict { current } => {
                        conflicting.push((path, based_on(change, current)));
                    }
                    LibraryOutcome::Refused { code } => {
                        outcome.failed.push((path, code.to_string()));
                    }
                }
            }
            names = conflicting;
        }
        let why = "another device keeps changing the photo of this name";
        outcome
            .failed
            .extend(names.into_iter().map(|(path, _)| (path, why.to_owned())));
        Ok(())
    }
}

impl PushOutcome {
    fn count(&mut self, backed_up: BackupOutcome) {
        match backed_up {
            BackupOutcome::Sent(_) => self.uploaded += 1,
            BackupOutcome::AlreadyStored(_) => self.already += 1,
            BackupOutcome::Linked(_) => self.linked += 1,
        }
    }
}

/// The change, based on the version that the library has now.
fn based_on(change: LibraryChange, current: u64) -> LibraryChange {
    match change {
        LibraryChange::Put {
            path,
            fingerprint,
            mtime_ns,
            base: _,
        } => LibraryChange::Put {
            path,
            fingerprint,
            mtime_ns,
            base: current,
        },
        LibraryChange::Move { from, to, base: _ } => LibraryChange::Move {
            from,
            to,
            base: current,
        },
        LibraryChange::Remove { path, base: _ } => LibraryChange::Remove {
            path,
            base: current,
        },
    }
}

/// Opens and fingerprints a photo; also returns its modification time in nanoseconds.
fn open(path: &Path) -> anyhow::Result<(ImageFile, i64)> {
    let file = File::open(path)?;
    let (_, stamp) = Spool::identify(&file)?;
    let fingerprint = fingerprint_of(&file)?;
    Ok((ImageFile::new(file, stamp, fingerprint), stamp.mtime_ns))
}

/// Reports one photo's progress to the progress bar of all photos.
struct PhotoProgress {
    bar: ProgressBar,
    sent_bytes: AtomicU64,
}

impl ProgressSink for PhotoProgress {
    fn on_range_stored(&self, _range: ByteRange) {}

    fn on_progress(&self, received_bytes: u64) {
        let before = self.sent_bytes.fetch_max(received_bytes, Ordering::Relaxed);
        self.bar.inc(received_bytes.saturating_sub(before));
    }
}
