//! Queues files for upload again whose images the server confirmed and does not have any more.

use std::collections::HashSet;

use heirloom_protocol::Fingerprint;

use crate::journal::{FileId, FileRecord, FileState, Journal, JournalError};

/// Records of the journal that are read at a time.
const PAGE: usize = 1000;

/// Forgets the receipts of these images, and queues every file for upload that has one of them and
/// its bytes here; returns how many. Blocks on the disk.
pub(super) fn requeue_images(
    journal: &Journal,
    images: &HashSet<Fingerprint>,
) -> Result<usize, JournalError> {
    journal.forget_receipts(images.iter().copied().collect())?;
    let lost = find_files(journal, |record| {
        backed_up_image(record).is_some_and(|image| images.contains(&image))
    })?;
    let pending: Vec<_> = lost.into_iter().filter_map(as_pending).collect();
    let count = pending.len();
    journal.record(pending)?;
    Ok(count)
}

fn as_pending((id, record): (FileId, FileRecord)) -> Option<(FileId, FileRecord)> {
    let fingerprint = backed_up_image(&record)?;
    Some((
        id,
        FileRecord {
            state: FileState::Pending { fingerprint },
            ..record
        },
    ))
}

/// The image of a file that was backed up and has its bytes here.
const fn backed_up_image(record: &FileRecord) -> Option<Fingerprint> {
    match record.state {
        FileState::BackedUp { fingerprint } => Some(fingerprint),
        FileState::Pending { .. }
        | FileState::Placeholder { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

/// The files whose record `matches`. Reads all records, so it is only for what is rare: the journal
/// has no index by image or path.
pub(super) fn find_files(
    journal: &Journal,
    matches: impl Fn(&FileRecord) -> bool,
) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = journal.files_after(after, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(found);
        };
        after = Some(*last);
        found.extend(page.into_iter().filter(|(_, record)| matches(record)));
    }
}
