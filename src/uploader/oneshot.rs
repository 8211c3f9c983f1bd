//! By hand: one image to the server, without queue, journal or mount (`heirloom push`).

use std::sync::Arc;

use heirloom_protocol::ByteRange;
use heirloom_protocol::message::{CheckImage, CheckedImage, CrossUser, Receipt, Session};
use heirloom_protocol::possession::{self, Proof};

use super::chunked_upload::{DeliveryError, ProgressSink, ResumeSource};
use super::image::{ImageError, ImageFile};
use super::transport::Transport;
use crate::background::run_blocking;

/// How an image came to be backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupOutcome {
    /// It was before: nothing was sent.
    AlreadyStored(Receipt),
    /// Another user's copy was linked after proof: nothing was sent.
    Linked(Receipt),
    /// It was sent.
    Sent(Receipt),
}

impl BackupOutcome {
    /// What the server vouches for.
    pub const fn receipt(&self) -> &Receipt {
        match self {
            Self::AlreadyStored(receipt) | Self::Linked(receipt) | Self::Sent(receipt) => receipt,
        }
    }
}

/// For those who keep no shard list and show no progress: the server's list is enough to go on
/// from.
#[derive(Clone, Copy, Debug)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn on_range_stored(&self, _range: ByteRange) {}
    fn on_progress(&self, _received_bytes: u64) {}
}

impl Transport {
    /// Asks for one image, and sends it if it has to be sent. Several may be under way: they share
    /// the budget.
    ///
    /// May be dropped half-way: what was acknowledged need not be sent again.
    pub async fn back_up(
        &self,
        image: Arc<ImageFile>,
        witness: Arc<dyn ProgressSink>,
    ) -> Result<BackupOutcome, DeliveryError> {
        let session = self.remote().session().await?;
        let (fingerprint, size) = (image.fingerprint(), image.size());
        let proof = proof_of(Arc::clone(&image), &session).await?;
        let checked = self
            .remote()
            .check(&[CheckImage {
                fingerprint,
                size,
                proof,
            }])
            .await?;
        let held = match checked.into_iter().next() {
            Some(CheckedImage::Owned { receipt }) => {
                return Ok(BackupOutcome::AlreadyStored(receipt));
            }
            Some(CheckedImage::Linked { receipt }) => return Ok(BackupOutcome::Linked(receipt)),
            Some(CheckedImage::Interrupted { received, .. }) => received,
            Some(CheckedImage::Absent { .. }) | None => heirloom_protocol::RangeSet::new(),
        };
        witness.on_progress(held.byte_count());
        let receipt = self
            .deliver(image, session.limits, ResumeSource::Server(held), witness)
            .await?;
        Ok(BackupOutcome::Sent(receipt))
    }
}

/// The proof for a check, where one is of use.
async fn proof_of(image: Arc<ImageFile>, session: &Session) -> Result<Option<Proof>, ImageError> {
    if session.cross_user != CrossUser::Proof || image.size() < possession::SIZE_MIN {
        return Ok(None);
    }
    let session = session.clone();
    run_blocking(move || image.prove(&session)).await.map(Some)
}
