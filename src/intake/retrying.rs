//! *Retrying*: a photo that failed is taken in once more, because its owner says so.
//!
//! Of a torn one that is an override: whatever is there counts as the whole photo from now on, as
//! if its program had closed it this moment. So it gets the mark of a closed file, and the next
//! look makes it durable and promises it, as any other. Until then another power cut makes it
//! doubtful again.

use std::fs::File;
use std::io;

use heirloom_protocol::LibraryPath;

use super::inside::Inside;
use crate::journal::{Amount, FileId, FileRecord, JournalError};
use crate::spool::{Placeholder, Spool, SpoolError, WriteState};

/// So many failed files are looked at in one go.
const PAGE: usize = 256;

/// What became of a wish to retry.
#[derive(Debug, Default)]
pub struct RetryReport {
    /// Those that are taken in once more.
    pub again: Amount,
    /// Those that cannot be, now.
    pub refused: Vec<(LibraryPath, RetryError)>,
}

/// Why a failed file is not tried again. The text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// It is not at its end yet: its writer has the say.
    #[error("a program is still writing it")]
    InUse,
    /// It is not where the journal has it any more; it is looked at under its new name anyway.
    #[error("it was moved or removed this moment")]
    Moved,
    /// The spool does not give it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Inside {
    pub(super) fn retry(&self, paths: &[LibraryPath]) -> Result<RetryReport, JournalError> {
        let (mut retried, mut after) = (RetryReport::default(), None);
        loop {
            let page = self.journal.failed_after(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(retried);
            };
            after = Some(*last);
            for (id, record) in page {
                if paths.is_empty() || paths.iter().any(|path| record.path.is_at_or_below(path)) {
                    self.retry_one(id, record, &mut retried);
                }
            }
        }
    }

    fn retry_one(&self, id: FileId, record: FileRecord, retried: &mut RetryReport) {
        match self.vouch_for(id, &record.path) {
            Ok(()) => {
                tracing::info!(file = id.0, "tried again, because its owner says so");
                retried.again.files += 1;
                retried.again.bytes = retried.again.bytes.saturating_add(record.stamp.size);
            }
            Err(error) => retried.refused.push((record.path, error)),
        }
    }

    /// Marks it as closed if it was in doubt, and notes that it is to be looked at.
    fn vouch_for(&self, id: FileId, path: &LibraryPath) -> Result<(), RetryError> {
        let failed = |source| RetryError::Spool(SpoolError::of("look at", path, source));
        let file = self.spool.open_read(path)?;
        if Spool::identify(&file).map_err(failed)?.0 != id {
            return Err(RetryError::Moved);
        }
        let marked = self.desk.vouch(id, path, || self.mark_closed(&file));
        marked.ok_or(RetryError::InUse)?.map_err(failed)?
    }

    fn mark_closed(&self, file: &File) -> io::Result<Result<(), RetryError>> {
        // Holes are no content, whoever vouches for them.
        if Placeholder::of(file)?.is_some() {
            return Ok(Ok(()));
        }
        match self.marker.write_state(file)? {
            WriteState::Complete => Ok(Ok(())),
            WriteState::InUse | WriteState::Mapped => Ok(Err(RetryError::InUse)),
            WriteState::Unfinished | WriteState::Unsynced => self.marker.mark_closed(file).map(Ok),
        }
    }
}
