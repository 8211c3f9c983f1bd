//! The job: bringing gathered photos to the server, several at a time, then telling it their
//! names.

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

/// Photos in hand at a time: enough to keep the line full with small ones; the bytes in flight have
/// their own budget.
const PHOTOS_AT_A_TIME: usize = 16;
/// How often a name is put again on top of what somebody else put there meanwhile.
const NAME_TRIES_MAX: u32 = 3;

/// One run of `heirloom push`.
pub(super) struct PushJob {
    remote: Remote,
    transport: Transport,
    bar: ProgressBar,
}

/// What it came to: photos by how they came to be backed up.
#[derive(Debug, Default)]
pub(super) struct PushOutcome {
    pub(super) sent: u64,
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
        // One clear word about server and token before any photo is read.
        self.remote
            .session()
            .await
            .context("cannot use the server")?;
        let mut outcome = PushOutcome::default();
        let mut names = Vec::new();
        let mut carried = stream::iter(photos)
            .map(|photo| async { (photo.path.clone(), self.carry(photo).await) })
            .buffer_unordered(PHOTOS_AT_A_TIME);
        while let Some((path, carried)) = carried.next().await {
            match carried {
                Ok((backed_up, name)) => {
                    outcome.count(backed_up);
                    names.push((path, name));
                }
                Err(error) => outcome.failed.push((path, format!("{error:#}"))),
            }
            if names.len() == route::LIBRARY_CHANGES_MAX {
                self.tell(std::mem::take(&mut names), &mut outcome).await?;
            }
        }
        self.tell(names, &mut outcome).await?;
        Ok(outcome)
    }

    async fn carry(&self, photo: LocalPhoto) -> anyhow::Result<(BackupOutcome, LibraryChange)> {
        let path = photo.path.clone();
        let (image, mtime_ns) = tokio::task::spawn_blocking(move || open(&path))
            .await
            .context("reading does not panic")??;
        let fingerprint = image.fingerprint();
        let shown = Arc::new(Shown {
            bar: self.bar.clone(),
            so_far: AtomicU64::new(0),
        });
        let backed_up = back_up(
            &self.transport,
            Arc::new(image),
            Arc::clone(&shown) as Arc<dyn ProgressSink>,
        )
        .await?;
        shown.on_progress(photo.size);
        Ok((
            backed_up,
            LibraryChange::Put {
                path: photo.place,
                fingerprint,
                mtime_ns,
                base: 0,
            },
        ))
    }

    /// Tells the server the names. What stood there before goes to the trash, as with any
    /// overwriting.
    async fn tell(
        &self,
        mut names: Vec<(PathBuf, LibraryChange)>,
        outcome: &mut PushOutcome,
    ) -> anyhow::Result<()> {
        for _ in 0..NAME_TRIES_MAX {
            if names.is_empty() {
                return Ok(());
            }
            let changes = names.iter().map(|(_, change)| change.clone()).collect();
            let told = self
                .remote
                .change_library(&LibraryBatch { changes })
                .await
                .context("cannot tell the names")?;
            let mut again = Vec::new();
            for ((path, change), told) in names.into_iter().zip(told.outcomes) {
                match told {
                    LibraryOutcome::Applied { .. } => {}
                    LibraryOutcome::Conflict { current } => {
                        again.push((path, based_on(change, current)));
                    }
                    LibraryOutcome::Refused { code } => {
                        outcome.failed.push((path, code.to_string()));
                    }
                }
            }
            names = again;
        }
        let why = "another device keeps changing what stands under this name";
        outcome
            .failed
            .extend(names.into_iter().map(|(path, _)| (path, why.to_owned())));
        Ok(())
    }
}

impl PushOutcome {
    fn count(&mut self, backed_up: BackupOutcome) {
        match backed_up {
            BackupOutcome::Sent(_) => self.sent += 1,
            BackupOutcome::AlreadyStored(_) => self.already += 1,
            BackupOutcome::Linked(_) => self.linked += 1,
        }
    }
}

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

/// Opens and fingerprints a photo; answers its modification time as well.
fn open(path: &Path) -> anyhow::Result<(ImageFile, i64)> {
    let file = File::open(path)?;
    let (_, stamp) = Spool::identify(&file)?;
    let fingerprint = fingerprint_of(&file)?;
    Ok((ImageFile::new(file, stamp, fingerprint), stamp.mtime_ns))
}

/// Shows one photo's progress on the bar that all share.
struct Shown {
    bar: ProgressBar,
    so_far: AtomicU64,
}

impl ProgressSink for Shown {
    fn on_range_stored(&self, _range: ByteRange) {}

    fn on_progress(&self, received_bytes: u64) {
        let before = self.so_far.fetch_max(received_bytes, Ordering::Relaxed);
        self.bar.inc(received_bytes.saturating_sub(before));
    }
}
