//! Room: whether a user's quota has any for an image, asked before its bytes are taken in.
//!
//! What decides is the count in the index, in the same transaction that makes the image theirs;
//! this saves everybody the sending of what would be refused there.

use super::{UploadError, UploadService, index_failed};
use crate::accounts::Caller;
use crate::index::IndexError;
use heirloom_protocol::Fingerprint;

impl UploadService {
    /// Refuses an image that cannot become the caller's for want of room. Costs nothing where there
    /// is no quota.
    pub(super) async fn ask_for_room(
        &self,
        caller: &Caller,
        fingerprint: Fingerprint,
        size: u64,
    ) -> Result<(), UploadError> {
        let Some(quota) = caller.quota else {
            return Ok(());
        };
        let room = self.index.quota_usage(caller.user, fingerprint).await;
        let room = room.map_err(|source| index_failed(fingerprint, source))?;
        if room.fits(size) {
            return Ok(());
        }
        let full = IndexError::OverQuota {
            quota,
            held: room.held.saturating_add(room.begun),
            more: size,
        };
        Err(index_failed(fingerprint, full))
    }
}
