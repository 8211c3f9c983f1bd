//! Asks the server to confirm, with receipts, that it holds photos.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt};
use heirloom_protocol::{Fingerprint, route};

use super::error::EvictError;
use crate::background::run_blocking;
use crate::journal::{FileId, FileRecord, FileState, Journal, JournalError};
use crate::remote::Remote;

/// Files that are confirmed, and evicted, at a time: half of what the server accepts in one
/// request.
pub(super) const FILES_AT_A_TIME: usize = route::CHECK_IMAGES_MAX / 2;

/// Gets receipts from the server and keeps them in the journal.
#[derive(Debug)]
pub(super) struct Confirmer {
    journal: Arc<Journal>,
    remote: Remote,
}

impl Confirmer {
    pub(super) const fn new(journal: Arc<Journal>, remote: Remote) -> Self {
        Self { journal, remote }
    }

    /// Asks the server about those of these files that are backed up; returns the images that it
    /// holds now.
    pub(super) async fn confirm(
        &self,
        files: &[(FileId, FileRecord)],
    ) -> Result<HashSet<Fingerprint>, EvictError> {
        let sizes: HashMap<Fingerprint, u64> = files
            .iter()
            .filter_map(|(_, record)| Some((backed_up_image(record)?, record.stamp.size)))
            .collect();
        if sizes.is_empty() {
            return Ok(HashSet::new());
        }
        let images: Vec<_> = sizes
            .into_iter()
            .map(|(fingerprint, size)| CheckImage {
                fingerprint,
                size,
                proof: None,
            })
            .collect();
        let checked = self.remote.check(&images).await?;
        let receipts: Vec<Receipt> = checked.iter().filter_map(receipt_of).collect();
        let confirmed = receipts.iter().map(|receipt| receipt.fingerprint).collect();
        let journal = Arc::clone(&self.journal);
        run_blocking(move || journal.add_receipts(receipts)).await?;
        Ok(confirmed)
    }

    /// Gets receipts for backed-up files that have none, because another device sent them: up to
    /// [`FILES_AT_A_TIME`].
    pub(super) async fn fill_missing_receipts(&self) -> Result<(), EvictError> {
        let journal = Arc::clone(&self.journal);
        let files = run_blocking(move || without_receipt(&journal, FILES_AT_A_TIME)).await?;
        self.confirm(&files).await?;
        Ok(())
    }
}

/// The image of a file that is backed up and has its bytes here.
pub(super) const fn backed_up_image(record: &FileRecord) -> Option<Fingerprint> {
    match record.state {
        FileState::BackedUp { fingerprint } => Some(fingerprint),
        FileState::Placeholder { .. }
        | FileState::Pending { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

fn without_receipt(
    journal: &Journal,
    limit: usize,
) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
    let (mut found, mut after) = (Vec::new(), None);
    while found.len() < limit {
        let page = journal.files_after(after, FILES_AT_A_TIME)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (id, record) in page {
            if let Some(image) = backed_up_image(&record)
                && journal.receipt(image)?.is_none()
            {
                found.push((id, record));
            }
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn receipt_of(image: &CheckedImage) -> Option<Receipt> {
    match image {
        CheckedImage::Owned { receipt } | CheckedImage::Linked { receipt } => Some(*receipt),
        CheckedImage::Interrupted { .. } | CheckedImage::Absent { .. } => None,
    }
}
