//! The retry of failed files, at their owner's request.
//!
//! For an incomplete file that is an override: whatever is there counts as the whole file from now
//! on, as if its program had closed it at this moment. So it gets the write state of a closed file,
//! and the next scan makes it durable and queues it for upload like any other. Until then another
//! power cut makes it doubtful again.

use std::fs::File;
use std::io;

use heirloom_protocol::LibraryPath;

use super::context::IntakeContext;
use crate::journal::{Amount, FileId, FileRecord, JournalError};
use crate::spool::{Placeholder, SpoolError, WriteState};

/// Records of failed files read at a time.
const PAGE: usize = 256;

/// Result of a retry.
#[derive(Debug, Default)]
pub struct RetryReport {
    /// The files that are scanned again.
    pub again: Amount,
    /// The files that cannot be retried now, with the reason.
    pub refused: Vec<(LibraryPath, RetryError)>,
}

/// Reason for which a failed file is not retried. Its text is for the owner.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// Its writer has not closed it yet.
    #[error("a program is still writing it")]
    InUse,
    /// It is not where the journal has it any more; it is scanned under its new name anyway.
    #[error("it was just moved or removed")]
    Moved,
    /// It cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Retries the failed files at or below these paths; all failed files if there are no paths.
pub(super) fn retry(
    context: &IntakeContext,
    paths: &[LibraryPath],
) -> Result<RetryReport, JournalError> {
    let (mut report, mut after) = (RetryReport::default(), None);
    loop {
        let page = context.journal.failed_after(after, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(report);
        };
        after = Some(*last);
        for (id, record) in page {
            if paths.is_empty() || paths.iter().any(|path| record.path.is_at_or_below(path)) {
                retry_file(context, id, record, &mut report);
            }
        }
    }
}

fn retry_file(context: &IntakeContext, id: FileId, record: FileRecord, report: &mut RetryReport) {
    match force_accept(context, id, &record.path) {
        Ok(()) => {
            tracing::info!(file = id.0, "retrying a failed file at its owner's request");
            report.again.files += 1;
            report.again.bytes = report.again.bytes.saturating_add(record.stamp.size);
        }
        Err(error) => report.refused.push((record.path, error)),
    }
}

/// Marks a file as closed if its write state is in doubt, and queues it for a scan.
fn force_accept(context: &IntakeContext, id: FileId, path: &LibraryPath) -> Result<(), RetryError> {
    let opened = context.source.open(path)?;
    if opened.id != id {
        return Err(RetryError::Moved);
    }
    let marked = context
        .queue
        .force_accept(id, path, || mark_closed(context, &opened.file));
    marked
        .ok_or(RetryError::InUse)?
        .map_err(|source| SpoolError::of("read metadata of", path, source))?
}

fn mark_closed(context: &IntakeContext, file: &File) -> io::Result<Result<(), RetryError>> {
    // Holes are never content, also if the owner accepts them.
    if Placeholder::of(file)?.is_some() {
        return Ok(Ok(()));
    }
    match context.source.write_state(file)? {
        WriteState::Complete => Ok(Ok(())),
        WriteState::InUse | WriteState::Mapped => Ok(Err(RetryError::InUse)),
        WriteState::Unfinished | WriteState::Unsynced => context.source.mark_closed(file).map(Ok),
    }
}
