//! The batched check: what the server has of each image that a client wants to upload.

use std::time::Duration;

use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt};
use tokio::time::Instant;

use super::error::UploadError;
use super::service::UploadService;
use crate::accounts::Caller;
use crate::blobs::UploadKey;
use crate::possession::LinkCandidates;

/// How long one check may read stored images to verify proofs. Images whose proofs were not reached
/// by then are uploaded instead: the sender's request must not time out.
const PROOFS_TIME_MAX: Duration = Duration::from_secs(20);

impl UploadService {
    /// What the server has of each image, in the order of the request. Costs three queries of the
    /// index for the whole batch; only images that another user uploaded cost a look at their
    /// proof.
    pub async fn check(
        &self,
        caller: &Caller,
        images: &[CheckImage],
    ) -> Result<Vec<CheckedImage>, UploadError> {
        let fingerprints: Vec<_> = images.iter().map(|image| image.fingerprint).collect();
        let receipts = self
            .index
            .receipts(caller.user, &fingerprints)
            .await
            .map_err(UploadError::Check)?;
        let not_held: Vec<_> = images
            .iter()
            .filter(|image| !receipts.contains_key(&image.fingerprint))
            .collect();
        let not_held_fingerprints: Vec<_> =
            not_held.iter().map(|image| image.fingerprint).collect();
        let mut uploads = self
            .index
            .interrupted_uploads(caller.user, &not_held_fingerprints)
            .await
            .map_err(UploadError::Check)?;
        let candidates = self
            .possession
            .candidates(&not_held)
            .await
            .map_err(UploadError::Possession)?;
        self.counters.images_checked.add(images.len() as u64);

        let deadline = Instant::now() + PROOFS_TIME_MAX;
        let mut checked = Vec::with_capacity(images.len());
        for image in images {
            let fingerprint = image.fingerprint;
            checked.push(if let Some(receipt) = receipts.get(&fingerprint) {
                CheckedImage::Owned { receipt: *receipt }
            } else if let Some(receipt) = self.link(caller, image, &candidates, deadline).await? {
                if uploads.contains_key(&fingerprint) {
                    self.discard(UploadKey {
                        user: caller.user,
                        fingerprint,
                    })
                    .await?;
                }
                CheckedImage::Linked { receipt }
            } else if let Some(upload) = uploads.remove(&fingerprint) {
                CheckedImage::Interrupted {
                    fingerprint,
                    received: upload.received,
                }
            } else {
                CheckedImage::Absent { fingerprint }
            });
        }
        Ok(checked)
    }

    async fn link(
        &self,
        caller: &Caller,
        image: &CheckImage,
        candidates: &LinkCandidates,
        deadline: Instant,
    ) -> Result<Option<Receipt>, UploadError> {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        self.possession
            .verify(caller, image, candidates)
            .await
            .map_err(UploadError::Possession)
    }
}
