//! Quota admission: whether an image fits the user's quota, checked before its bytes are received.
//!
//! The index decides in the transaction that records the holding; this check spares the transfer of
//! an image that would be refused there.

use heirloom_protocol::Fingerprint;

use super::error::UploadError;
use super::service::UploadService;
use crate::accounts::Caller;
use crate::index::IndexError;

impl UploadService {
    /// Refuses an image that exceeds the caller's quota. Costs nothing where there is no quota.
    pub(super) async fn check_quota(
        &self,
        caller: &Caller,
        fingerprint: Fingerprint,
        size: u64,
    ) -> Result<(), UploadError> {
        let Some(quota) = caller.quota else {
            return Ok(());
        };
        let usage = self.index.quota_usage(caller.user, fingerprint).await;
        let usage = usage.map_err(UploadError::index(fingerprint))?;
        if usage.fits(size) {
            return Ok(());
        }
        Err(UploadError::index(fingerprint)(IndexError::OverQuota {
            quota,
            held: usage.held.saturating_add(usage.uploading),
            more: size,
        }))
    }
}
