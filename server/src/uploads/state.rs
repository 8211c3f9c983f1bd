//! The state of one upload, and cancelling it.

use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::UploadState;

use super::error::UploadError;
use super::service::UploadService;
use crate::accounts::Caller;
use crate::blobs::UploadKey;
use crate::index::InterruptedUpload;

impl UploadService {
    /// An upload's progress; `None` if the server has nothing of it. A complete upload that was not
    /// finished is finished first.
    ///
    /// The caller has often just lost a connection, so this waits for writes of the same upload
    /// that are still on their way to the disk.
    pub async fn upload_state(
        &self,
        caller: &Caller,
        fingerprint: Fingerprint,
    ) -> Result<Option<UploadState>, UploadError> {
        let key = UploadKey {
            user: caller.user,
            fingerprint,
        };
        drop(self.locks.lock_all(key).await);
        if let Some(receipt) = self.receipt_of(key).await? {
            return Ok(Some(UploadState::Stored { receipt }));
        }
        match self.upload_of(key).await? {
            Some(InterruptedUpload { size, received }) if received.covers(size) => {
                let service = self.clone();
                let finished = self
                    .writes
                    .spawn(async move { service.finish(key, size).await });
                finished
                    .await
                    .map_err(|_| UploadError::TaskFailed(fingerprint))?
                    .map(Some)
            }
            Some(InterruptedUpload { size, received }) => {
                Ok(Some(UploadState::Receiving { size, received }))
            }
            None => Ok(None),
        }
    }

    /// Deletes an unfinished upload, if there is one. A finished image stays.
    pub async fn cancel(
        &self,
        caller: &Caller,
        fingerprint: Fingerprint,
    ) -> Result<(), UploadError> {
        self.discard(UploadKey {
            user: caller.user,
            fingerprint,
        })
        .await
    }
}
