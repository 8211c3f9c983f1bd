//! Anew: files whose images the server vouched for and does not have any more. They are promised
//! again, and sent.

use std::collections::HashSet;

use heirloom_protocol::Fingerprint;

use crate::journal::{FileId, FileRecord, FileState, Journal, JournalError};

/// Files of the journal looked through at a time, where one is searched by what it holds.
const PAGE: usize = 1000;

/// Forgets the receipts of these images, and promises anew every file that has one of them and its
/// bytes here; answers how many. Blocks on the disk.
pub(super) fn promise_anew(
    journal: &Journal,
    images: &HashSet<Fingerprint>,
) -> Result<usize, JournalError> {
    journal.forget_receipts(images.iter().copied().collect())?;
    let lost = search(journal, |record| {
        image_here(record).is_some_and(|image| images.contains(&image))
    })?;
    let promised: Vec<_> = lost.into_iter().filter_map(promise).collect();
    let count = promised.len();
    journal.record(promised)?;
    Ok(count)
}

fn promise((id, record): (FileId, FileRecord)) -> Option<(FileId, FileRecord)> {
    let fingerprint = image_here(&record)?;
    Some((
        id,
        FileRecord {
            state: FileState::Pending { fingerprint },
            ..record
        },
    ))
}

/// The image of a file that was backed up and still has its bytes.
const fn image_here(record: &FileRecord) -> Option<Fingerprint> {
    match record.state {
        FileState::BackedUp { fingerprint } => Some(fingerprint),
        FileState::Pending { .. }
        | FileState::Placeholder { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

/// Looks through all files. Only where something went wrong elsewhere: the journal has no index for
/// it.
pub(super) fn search(
    journal: &Journal,
    wanted: impl Fn(&FileRecord) -> bool,
) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = journal.files_after(after, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(found);
        };
        after = Some(*last);
        found.extend(page.into_iter().filter(|(_, record)| wanted(record)));
    }
}
