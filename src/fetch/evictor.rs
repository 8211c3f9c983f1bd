//! Selects the files to evict: those that a person names, or the least recently used ones when disk
//! space is short.
//!
//! When a person asks, the server has to confirm each photo now. When space is short, receipts in
//! the journal are enough, because a writer must not wait for the network. Receipts that are
//! missing are fetched when there is time.

use std::collections::HashSet;
use std::sync::Arc;

use heirloom_protocol::{Fingerprint, LibraryPath};
use parking_lot::Mutex;

use super::confirmer::{Confirmer, FILES_AT_A_TIME, backed_up_image};
use super::error::EvictError;
use super::file_evictor::FileEvictor;
use super::keep_reason::KeepReason;
use super::open_files::OpenFiles;
use crate::background::run_blocking;
use crate::journal::{FileId, FileRecord, Journal, JournalError};
use crate::remote::Remote;
use crate::spool::{Spool, SpoolPath, Timespec};

/// When a writer meets a full disk, this much more than it needs is freed, in bytes, so that the
/// next write does not meet it again.
const EXTRA_BYTES: u64 = 32 << 20;

/// Files with their records in the journal.
type FileRecords = Vec<(FileId, FileRecord)>;

/// Evicts files.
#[derive(Debug)]
pub(super) struct Evictor {
    spool: Spool,
    journal: Arc<Journal>,
    confirmer: Confirmer,
    files: FileEvictor,
    head_bytes: u64,
    /// Held while space is freed: what is freed then is counted once.
    freeing: Mutex<()>,
}

/// The files that a person wants evicted.
#[derive(Clone, Debug, Default)]
pub struct EvictSelection {
    /// These files and folders; all files if there are none.
    pub paths: Vec<LibraryPath>,
    /// Only files that were not used after this time.
    pub unused_since: Option<Timespec>,
}

/// The result for one part of a selection.
#[derive(Debug, Default)]
pub struct EvictOutcome {
    /// Files that were evicted.
    pub files: u64,
    /// Bytes that the disk got back.
    pub bytes: u64,
    /// Files that were not evicted, and why.
    pub kept: Vec<(LibraryPath, KeepReason)>,
    /// Where the next part begins; nothing at the end.
    pub next: Option<FileId>,
}

impl Evictor {
    pub(super) fn new(
        spool: Spool,
        journal: Arc<Journal>,
        remote: Remote,
        open_files: Arc<OpenFiles>,
        head_bytes: u64,
    ) -> Self {
        Self {
            confirmer: Confirmer::new(Arc::clone(&journal), remote),
            files: FileEvictor::new(spool.clone(), Arc::clone(&journal), open_files, head_bytes),
            spool,
            journal,
            head_bytes,
            freeing: Mutex::default(),
        }
    }

    /// Evicts the part of a selection that follows `after`, as far as the server confirms now that
    /// it holds exactly these bytes. Cancel safe: each file is evicted or not.
    pub(super) async fn evict(
        self: &Arc<Self>,
        selection: EvictSelection,
        after: Option<FileId>,
    ) -> Result<EvictOutcome, EvictError> {
        let evictor = Arc::clone(self);
        let (files, next) = run_blocking(move || evictor.select(&selection, after)).await?;
        let confirmed = self.confirmer.confirm(&files).await?;
        let evictor = Arc::clone(self);
        let mut outcome = run_blocking(move || evictor.evict_confirmed(files, &confirmed)).await;
        outcome.next = next;
        Ok(outcome)
    }

    /// Frees at least this many bytes on the disk without the network; whether it did. Blocks on
    /// the disk.
    pub(super) fn free_space(&self, bytes: u64) -> bool {
        let freed = self.evict_oldest(|freed| freed < bytes.saturating_add(EXTRA_BYTES));
        if freed == 0 {
            tracing::warn!(bytes, "the disk is full and no photo can be evicted");
        }
        freed >= bytes
    }

    /// Evicts the least recently used files while `goes_on`, which is given the bytes freed so far;
    /// returns how many bytes were freed. One caller at a time: the next one finds the space that
    /// was freed for the first. Blocks on the disk.
    pub(super) fn evict_oldest(&self, goes_on: impl Fn(u64) -> bool) -> u64 {
        let _freeing = self.freeing.lock();
        let mut candidates = match self.candidates() {
            Ok(candidates) => candidates,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not free disk space"
                );
                return 0;
            }
        };
        candidates.sort_unstable_by_key(|(last_used, _)| *last_used);
        let mut freed = 0;
        for (_, id) in candidates {
            if !goes_on(freed) {
                break;
            }
            let Ok(Some(record)) = self.journal.file(id) else {
                continue;
            };
            match self.files.evict(id, &record) {
                Ok(bytes) => freed += bytes,
                Err(why) => tracing::debug!(file = id.0, %why, "not evicted"),
            }
        }
        freed
    }

    /// Gets receipts for backed-up files that have none. If the server is away, these files cannot
    /// be evicted until it is back.
    pub(super) async fn fill_missing_receipts(&self) {
        if let Err(error) = self.confirmer.fill_missing_receipts().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "could not get missing receipts from the server"
            );
        }
    }

    /// The files of one part of a selection, and where the next part begins.
    fn select(
        &self,
        selection: &EvictSelection,
        after: Option<FileId>,
    ) -> Result<(FileRecords, Option<FileId>), JournalError> {
        let page = self.journal.files_after(after, FILES_AT_A_TIME)?;
        let next = page.last().map(|(id, _)| *id);
        let selected = page
            .into_iter()
            .filter(|(_, record)| self.is_selected(selection, record));
        Ok((selected.collect(), next))
    }

    fn is_selected(&self, selection: &EvictSelection, record: &FileRecord) -> bool {
        let is_named = selection.paths.is_empty()
            || selection
                .paths
                .iter()
                .any(|path| record.path.is_at_or_below(path));
        is_named
            && selection
                .unused_since
                .is_none_or(|since| self.last_used(record).is_some_and(|used| used <= since))
    }

    /// When a file was last read or changed, as far as its disk records that; nothing if the file
    /// does not exist.
    fn last_used(&self, record: &FileRecord) -> Option<Timespec> {
        let facts = self
            .spool
            .metadata(&SpoolPath::Entry(record.path.clone()))
            .ok()?;
        Some(facts.accessed.max(facts.changed))
    }

    fn evict_confirmed(
        &self,
        files: FileRecords,
        confirmed: &HashSet<Fingerprint>,
    ) -> EvictOutcome {
        let mut outcome = EvictOutcome::default();
        for (id, record) in files {
            let is_confirmed =
                backed_up_image(&record).is_none_or(|image| confirmed.contains(&image));
            let evicted = if is_confirmed {
                self.files.evict(id, &record)
            } else {
                Err(KeepReason::Unconfirmed)
            };
            match evicted {
                Ok(bytes) => {
                    outcome.files += 1;
                    outcome.bytes += bytes;
                }
                Err(why) => outcome.kept.push((record.path, why)),
            }
        }
        outcome
    }

    /// All files that could be evicted, with when they were last used.
    fn candidates(&self) -> Result<Vec<(Timespec, FileId)>, JournalError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.journal.files_after(after, FILES_AT_A_TIME)?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after = Some(*last);
            let large = page.iter().filter(|(_, record)| {
                backed_up_image(record).is_some() && record.stamp.size > self.head_bytes
            });
            found.extend(large.filter_map(|(id, record)| Some((self.last_used(record)?, *id))));
        }
    }
}
