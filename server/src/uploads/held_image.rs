//! Reading an image that the caller holds.

use std::sync::Arc;

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint};

use super::error::UploadError;
use super::service::UploadService;
use crate::accounts::Caller;
use crate::blobs::{BlobError, BlobStore, ByteStream, UploadKey};
use crate::index::Index;

/// A stored image that the caller holds.
#[derive(Debug)]
pub struct HeldImage {
    receipt: Receipt,
    index: Index,
    blobs: Arc<dyn BlobStore>,
}

impl UploadService {
    /// The image, if the caller holds it.
    pub async fn image(
        &self,
        caller: &Caller,
        fingerprint: Fingerprint,
    ) -> Result<Option<HeldImage>, UploadError> {
        let receipt = self
            .receipt_of(UploadKey {
                user: caller.user,
                fingerprint,
            })
            .await?;
        let held = |receipt| HeldImage {
            receipt,
            index: self.index.clone(),
            blobs: Arc::clone(&self.blobs),
        };
        Ok(receipt.map(held))
    }
}

impl HeldImage {
    /// The user's receipt for the image, unsigned.
    pub const fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// A range of the image's bytes. If they are missing, the image is quarantined, so that the
    /// next check asks for it again.
    pub async fn read(&self, range: ByteRange) -> Result<ByteStream<'static>, UploadError> {
        let fingerprint = self.receipt.fingerprint;
        let read = self.blobs.read(fingerprint, range).await;
        if let Err(BlobError::Missing(_) | BlobError::TooShort { .. }) = read {
            tracing::error!(
                %fingerprint,
                "a stored image is missing; quarantined until it is uploaded again"
            );
            let quarantined = self.index.quarantine(fingerprint).await;
            quarantined.map_err(UploadError::index(fingerprint))?;
        }
        read.map_err(UploadError::blobs(fingerprint))
    }
}
