//! The key of an unfinished upload.

use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;

/// Identifies an unfinished upload. Two devices of one user share an upload, two users never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadKey {
    /// The user who uploads.
    pub user: UserId,
    /// The fingerprint of the image that the upload becomes.
    pub fingerprint: Fingerprint,
}
