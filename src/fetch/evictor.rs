//! *Freeing*: which photos give their room up, because somebody asks for it, or because there is no
//! room.
//!
//! Asked for, the server has to confirm each photo now. When room is short, the least recently used
//! go first, and the receipts at hand are enough: then nobody may wait for the network. The server
//! is asked for receipts that are missing when there is time.

use std::collections::HashMap;

use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt};
use heirloom_protocol::{Fingerprint, LibraryPath, route};

use super::file_evictor::KeepReason;
use super::{Fetcher, Inside, locked};
use crate::background::run_blocking;
use crate::journal::{FileId, FileRecord, FileState, JournalError};
use crate::remote::RemoteError;
use crate::spool::{SpoolPath, Timespec};

/// Records read at a time, and photos freed in one go: as many as the server confirms in one
/// request.
pub(super) const FREED_AT_A_TIME: usize = route::CHECK_IMAGES_MAX / 2;
/// When a writer meets a full disk, so much more than it needs is made free, so that the next write
/// does not meet it again.
const AHEAD_BYTES: u64 = 32 << 20;

/// Files, and what the journal says of them.
type Files = Vec<(FileId, FileRecord)>;

/// Which photos are to give their room up.
#[derive(Clone, Debug, Default)]
pub struct EvictSelection {
    /// These, and what is below them; all if there is none.
    pub paths: Vec<LibraryPath>,
    /// Only those not used since.
    pub unused_since: Option<Timespec>,
}

/// What became of a part of a selection.
#[derive(Debug, Default)]
pub struct EvictOutcome {
    /// How many photos are placeholders now.
    pub files: u64,
    /// How many bytes the disk got back.
    pub bytes: u64,
    /// Those that kept their room.
    pub kept: Vec<(LibraryPath, KeepReason)>,
    /// Where to go on; nothing at the end.
    pub next: Option<FileId>,
}

/// Freeing could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EvictError {
    /// The server cannot be asked.
    #[error("the server must confirm what it has first")]
    Remote(#[from] RemoteError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Fetcher {
    /// Frees the next of a selection, from behind `after` on, as far as the server confirms, now,
    /// that it holds exactly these bytes. May be dropped half-way: each photo is freed or not.
    pub async fn evict(
        &self,
        selection: EvictSelection,
        after: Option<FileId>,
    ) -> Result<EvictOutcome, EvictError> {
        let (inside, chosen) = (self.inside.clone(), selection);
        let (found, next) = run_blocking(move || inside.selected(&chosen, after)).await?;
        let confirmed = self.inside.confirm(&found).await?;
        let inside = self.inside.clone();
        let mut freed = run_blocking(move || inside.free_confirmed(found, &confirmed)).await;
        freed.next = next;
        Ok(freed)
    }

    /// Frees room on the disk for so many bytes, without the network; whether there is some now.
    /// Blocks on the disk.
    pub fn free_space(&self, bytes: u64) -> bool {
        let freed = self
            .inside
            .free_oldest(|freed| freed < bytes.saturating_add(AHEAD_BYTES));
        if freed == 0 {
            tracing::warn!(bytes, "the disk is full, and no photo can give its room up");
        }
        freed >= bytes
    }
}

impl Inside {
    /// The next of a selection, and where to go on.
    fn selected(
        &self,
        selection: &EvictSelection,
        after: Option<FileId>,
    ) -> Result<(Files, Option<FileId>), JournalError> {
        let page = self.journal.files_after(after, FREED_AT_A_TIME)?;
        let next = page.last().map(|(id, _)| *id);
        let chosen = page
            .into_iter()
            .filter(|(_, record)| self.is_selected(selection, record));
        Ok((chosen.collect(), next))
    }

    fn is_selected(&self, selection: &EvictSelection, record: &FileRecord) -> bool {
        let named = selection.paths.is_empty()
            || selection
                .paths
                .iter()
                .any(|path| record.path.is_at_or_below(path));
        named
            && selection
                .unused_since
                .is_none_or(|since| self.last_used(record).is_some_and(|used| used <= since))
    }

    /// When a file was last read or changed, as far as its disk keeps that; nothing if it is not
    /// there.
    fn last_used(&self, record: &FileRecord) -> Option<Timespec> {
        let facts = self
            .spool
            .metadata(&SpoolPath::Entry(record.path.clone()))
            .ok()?;
        Some(facts.accessed.max(facts.changed))
    }

    /// Asks the server for its word on all that it is said to have, and keeps it.
    pub(super) async fn confirm(
        &self,
        found: &[(FileId, FileRecord)],
    ) -> Result<HashMap<Fingerprint, Receipt>, EvictError> {
        let sizes: HashMap<Fingerprint, u64> = found
            .iter()
            .filter_map(|(_, record)| backed_up(record))
            .collect();
        if sizes.is_empty() {
            return Ok(HashMap::new());
        }
        let images: Vec<_> = sizes
            .iter()
            .map(|(&fingerprint, &size)| CheckImage {
                fingerprint,
                size,
                proof: None,
            })
            .collect();
        let receipts: Vec<Receipt> = self
            .remote
            .check(&images)
            .await?
            .iter()
            .filter_map(receipt)
            .collect();
        let (journal, kept) = (self.journal.clone(), receipts.clone());
        run_blocking(move || journal.add_receipts(kept)).await?;
        Ok(receipts
            .into_iter()
            .map(|receipt| (receipt.fingerprint, receipt))
            .collect())
    }

    fn free_confirmed(
        &self,
        found: Vec<(FileId, FileRecord)>,
        confirmed: &HashMap<Fingerprint, Receipt>,
    ) -> EvictOutcome {
        let mut freed = EvictOutcome::default();
        for (id, record) in found {
            let vouched =
                backed_up(&record).is_none_or(|(image, _)| confirmed.contains_key(&image));
            let outcome = if vouched {
                self.hollow_out(id, &record)
            } else {
                Err(KeepReason::Unconfirmed)
            };
            match outcome {
                Ok(bytes) => (freed.files, freed.bytes) = (freed.files + 1, freed.bytes + bytes),
                Err(kept) => freed.kept.push((record.path, kept)),
            }
        }
        freed
    }

    /// Frees the least recently used photos as long as it `goes_on` after so many freed bytes;
    /// answers how many were freed. One caller at a time: who waited finds the room that was made
    /// for another.
    pub(super) fn free_oldest(&self, goes_on: impl Fn(u64) -> bool) -> u64 {
        let _alone = locked(&self.making_room);
        let mut oldest = match self.by_age() {
            Ok(oldest) => oldest,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no room can be made"
                );
                return 0;
            }
        };
        oldest.sort_unstable_by_key(|(used, _)| *used);
        let mut freed = 0;
        for (_, id) in oldest {
            if !goes_on(freed) {
                break;
            }
            let Ok(Some(record)) = self.journal.file(id) else {
                continue;
            };
            match self.hollow_out(id, &record) {
                Ok(gained) => freed += gained,
                Err(kept) => tracing::debug!(file = id.0, %kept, "keeps its room"),
            }
        }
        freed
    }

    /// All photos that may be able to give up room, with when they were last used.
    fn by_age(&self) -> Result<Vec<(Timespec, FileId)>, JournalError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.journal.files_after(after, FREED_AT_A_TIME)?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after = Some(*last);
            let large = page.iter().filter(|(_, record)| {
                backed_up(record).is_some_and(|(_, size)| size > self.manner.head_bytes)
            });
            found.extend(large.filter_map(|(id, record)| Some((self.last_used(record)?, *id))));
        }
    }

    /// Backed-up photos of which we have no receipt: they came from another device.
    pub(super) fn without_receipt(
        &self,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < limit {
            let page = self.journal.files_after(after, FREED_AT_A_TIME)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (id, record) in page {
                if let Some((image, _)) = backed_up(&record)
                    && self.journal.receipt(image)?.is_none()
                {
                    found.push((id, record));
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

fn backed_up(record: &FileRecord) -> Option<(Fingerprint, u64)> {
    match record.state {
        FileState::BackedUp { fingerprint } => Some((fingerprint, record.stamp.size)),
        FileState::Placeholder { .. }
        | FileState::Pending { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

fn receipt(image: &CheckedImage) -> Option<Receipt> {
    match image {
        CheckedImage::Owned { receipt } | CheckedImage::Linked { receipt } => Some(*receipt),
        CheckedImage::Interrupted { .. } | CheckedImage::Absent { .. } => None,
    }
}
