//! The upload of a single image, without queue, journal or mount: `heirloom push`.

use std::sync::Arc;

use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt, Session};
use heirloom_protocol::possession::Proof;
use heirloom_protocol::{ByteRange, RangeSet};

use super::chunked_upload::ChunkedUpload;
use super::image_file::{ImageFile, wants_proof};
use super::transport::Transport;
use super::types::{ImageError, ProgressSink, ResumeSource, UploadError};
use crate::background::run_blocking;

/// How an image came to be backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupOutcome {
    /// The server had it from this user: nothing was sent.
    AlreadyStored(Receipt),
    /// The server linked another user's copy after a proof: nothing was sent.
    Linked(Receipt),
    /// It was sent.
    Sent(Receipt),
}

impl BackupOutcome {
    /// The server's receipt.
    pub const fn receipt(&self) -> &Receipt {
        match self {
            Self::AlreadyStored(receipt) | Self::Linked(receipt) | Self::Sent(receipt) => receipt,
        }
    }
}

/// A sink that keeps no shard list and shows no progress: the server's interruption list is enough
/// to resume from.
#[derive(Clone, Copy, Debug)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn on_range_stored(&self, _range: ByteRange) {}
    fn on_progress(&self, _received_bytes: u64) {}
}

/// Checks one image, and sends it if the server does not have it. Several may run at a time: they
/// share the transport's budget.
///
/// May be dropped half-way: what was acknowledged need not be sent again.
pub async fn back_up(
    transport: &Transport,
    image: Arc<ImageFile>,
    progress: Arc<dyn ProgressSink>,
) -> Result<BackupOutcome, UploadError> {
    let server = transport.server();
    let session = server.session().await?;
    let (fingerprint, size) = (image.fingerprint(), image.size());
    let proof = proof_of(Arc::clone(&image), &session).await?;
    let checked = server
        .check(&[CheckImage {
            fingerprint,
            size,
            proof,
        }])
        .await?;
    let held = match checked.into_iter().next() {
        Some(CheckedImage::Owned { receipt }) => return Ok(BackupOutcome::AlreadyStored(receipt)),
        Some(CheckedImage::Linked { receipt }) => return Ok(BackupOutcome::Linked(receipt)),
        Some(CheckedImage::Interrupted { received, .. }) => received,
        Some(CheckedImage::Absent { .. }) | None => RangeSet::new(),
    };
    progress.on_progress(held.byte_count());
    let resume = ResumeSource::Server(held);
    let receipt = ChunkedUpload::new(transport, image, session.limits, resume, progress)
        .run()
        .await?;
    Ok(BackupOutcome::Sent(receipt))
}

/// The proof for a check, if it should carry one.
async fn proof_of(image: Arc<ImageFile>, session: &Session) -> Result<Option<Proof>, ImageError> {
    if !wants_proof(session, image.size()) {
        return Ok(None);
    }
    let session = session.clone();
    run_blocking(move || image.prove(&session)).await.map(Some)
}
