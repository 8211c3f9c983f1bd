//! Messages: the JSON bodies of requests and responses.
//!
//! Requests reject unknown fields, so that a client learns when the server does not understand
//! part of what it sent. Responses ignore unknown fields, so that a newer server can add some.
//! Every message has a golden file in `protocol/tests/golden/`. Times are in milliseconds since the
//! Unix epoch unless a name says otherwise, sizes in bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::path::LibraryPath;
use crate::possession::{Nonce, Proof, UserId};
use crate::problem::ErrorCode;
use crate::ranges::RangeSet;
use crate::signature::{ReceiptKey, ReceiptPayload, Signature};

/// Request of `POST /v1/login`: exchanges a password for a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The account's name.
    pub user: String,
    /// The account's password. `Debug` does not show it.
    pub password: String,
    /// The name of the device that gets the token: 1 to 64 visible ASCII characters. If the user
    /// already has a device of that name, the server appends a number.
    pub device: String,
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoginRequest")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Response to `POST /v1/login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAnswer {
    /// The bearer token for all further requests. `Debug` does not show it.
    pub token: String,
}

impl fmt::Debug for LoginAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoginAnswer")
            .finish_non_exhaustive()
    }
}

/// Response to `GET /v1/session`: the authenticated user, their permissions and limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The account's id.
    pub user: UserId,
    /// The account's name.
    pub name: String,
    /// What the token may do. Older servers, which issue only full tokens, leave it out.
    #[serde(default)]
    pub scope: Scope,
    /// The id of this installation, 32 hex digits. It tells a client that another server now
    /// answers at the same address, to which its sync list does not apply.
    pub installation: String,
    /// The nonce for proofs of possession.
    pub nonce: Nonce,
    /// Seconds until the server issues the next nonce. This one stays valid for an hour after that.
    pub nonce_renewal_s: u64,
    /// Whether images held by other users can be linked.
    pub cross_user: CrossUser,
    /// The public key that receipts are signed with. Older servers, which sign none, leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_key: Option<ReceiptKey>,
    /// The limits of one request.
    pub limits: Limits,
    /// The server's clock, in milliseconds since the Unix epoch.
    pub server_time_ms: i64,
}

/// The permissions of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything the user may do.
    #[default]
    Full,
    /// Read, and add what does not exist yet. A stolen token or device cannot remove or replace
    /// anything.
    AppendOnly,
    /// Read only.
    ReadOnly,
}

/// Policy for images that another user already holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossUser {
    /// Linked at once after a proof of possession: instant upload.
    #[default]
    Proof,
    /// Linked only after a full upload, so that the server's answers reveal nothing about what
    /// other users hold.
    Off,
}

/// The limits of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Maximum number of images in one check.
    pub check_images_max: usize,
    /// Maximum number of changes in one library batch.
    pub library_changes_max: usize,
    /// Minimum size of a shard in bytes, except for the last one of an image.
    pub shard_bytes_min: u64,
    /// Maximum size of a shard in bytes.
    pub shard_bytes_max: u64,
    /// Maximum size of an image in bytes.
    pub image_bytes_max: u64,
    /// Maximum size of all images in one batch, in bytes; 0 if the server accepts no batches.
    #[serde(rename = "parcel_bytes_max", default)]
    pub batch_bytes_max: u64,
}

/// One image of a batched check, `POST /v1/images/check`. The request is a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckImage {
    /// The image's fingerprint.
    pub fingerprint: Fingerprint,
    /// The image's length in bytes.
    pub size: u64,
    /// Proof that the sender holds the image's bytes. Without it, only the user's own images are
    /// searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What the server has of one image. The response to a check is a list of these, in the order of
/// the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CheckedImage {
    /// The user already holds the image: it is backed up.
    Owned {
        /// The server's receipt for it.
        receipt: Receipt,
    },
    /// Another user held the image, and now this user holds it too: instant upload.
    Linked {
        /// The server's receipt for it.
        receipt: Receipt,
    },
    /// The user's upload of the image was interrupted and can be resumed.
    Interrupted {
        /// The image's fingerprint.
        fingerprint: Fingerprint,
        /// The byte ranges that have arrived and are durable.
        received: RangeSet,
    },
    /// The user does not hold the image, and may not know whether anybody else does.
    Absent {
        /// The image's fingerprint.
        fingerprint: Fingerprint,
    },
}

impl CheckedImage {
    /// The fingerprint of the image.
    pub const fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Owned { receipt } | Self::Linked { receipt } => receipt.fingerprint,
            Self::Interrupted { fingerprint, .. } | Self::Absent { fingerprint } => *fingerprint,
        }
    }
}

/// The server's confirmation that a user's image is complete, verified and durable.
///
/// The server hashed the bytes as they arrived, and made them durable before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The image's fingerprint.
    pub fingerprint: Fingerprint,
    /// The image's length in bytes.
    pub size: u64,
    /// When the user came to hold the image, in milliseconds since the Unix epoch, by the server's
    /// clock.
    pub stored_at_ms: i64,
    /// The server's signature. Left out where a check repeats a receipt issued earlier: a thousand
    /// signatures would cost more than a thousand look-ups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

impl Receipt {
    /// The payload that the signature of this receipt covers.
    pub const fn payload(&self, user: UserId) -> ReceiptPayload {
        ReceiptPayload {
            user: user.0,
            fingerprint: self.fingerprint,
            size: self.size,
            stored_at_ms: self.stored_at_ms,
        }
    }
}

/// Response to `GET /v1/images/{fingerprint}/receipt`: the server has just read the stored bytes
/// and verified their fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshReceipt {
    /// The receipt, signed.
    pub receipt: Receipt,
    /// When the bytes were verified, in milliseconds since the Unix epoch, by the server's clock.
    pub hashed_at_ms: i64,
}

/// Response to `GET /v1/uploads/{fingerprint}` and to every shard: the progress of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum UploadState {
    /// Part of the image has arrived.
    Receiving {
        /// The image's length in bytes, as its first shard announced it.
        size: u64,
        /// The byte ranges that have arrived and are durable.
        received: RangeSet,
    },
    /// The whole image has arrived, verified and durable.
    Stored {
        /// The server's receipt for it.
        receipt: Receipt,
    },
}

/// Request of `POST /v1/library/changes`. Changes are applied in order, each independently of the
/// others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryBatch {
    /// The changes, at most [`crate::route::LIBRARY_CHANGES_MAX`].
    pub changes: Vec<LibraryChange>,
}

/// One change to a user's library.
///
/// `base` is the version that the sender believes the path has; 0, which is left out on the wire,
/// if the sender believes it is empty. A change on another base is a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum LibraryChange {
    /// Puts a photo at `path`. A photo that was there before moves to the trash.
    Put {
        /// The photo's path.
        path: LibraryPath,
        /// The image's fingerprint; the user must hold the image.
        fingerprint: Fingerprint,
        /// The file's modification time, in nanoseconds since the Unix epoch. Stored as given.
        mtime_ns: i64,
        /// The version that the sender believes `path` has.
        #[serde(default, skip_serializing_if = "is_zero")]
        base: u64,
    },
    /// Moves the photo at `from` to `to`. A photo that was at `to` before moves to the trash.
    Move {
        /// The photo's old path.
        from: LibraryPath,
        /// The photo's new path.
        to: LibraryPath,
        /// The version that the sender believes `from` has.
        #[serde(default, skip_serializing_if = "is_zero")]
        base: u64,
    },
    /// Moves the photo at `path` to the trash. The image's bytes stay.
    Remove {
        /// The photo's path.
        path: LibraryPath,
        /// The version that the sender believes `path` has.
        #[serde(default, skip_serializing_if = "is_zero")]
        base: u64,
    },
}

/// Whether a field is left out on the wire. Most changes have no base, and many photos only get
/// another name: their changes should cost little more than that name.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Response to `POST /v1/library/changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryOutcomes {
    /// One outcome per change, in the order of the request.
    pub outcomes: Vec<LibraryOutcome>,
}

/// The outcome of one library change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LibraryOutcome {
    /// The change is applied. Repeating an applied change gives the same outcome, so it is safe to
    /// send one again.
    Applied {
        /// The version that the path has now; for a move, that of the new path.
        version: u64,
    },
    /// The path does not have the version that the change was based on. Nothing was changed.
    Conflict {
        /// The version that the path has; 0 if it is empty.
        current: u64,
    },
    /// The change is not possible.
    Refused {
        /// The reason.
        code: ErrorCode,
    },
}

/// Response to `GET /v1/library/changes`: one page of a user's change feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryFeed {
    /// The paths that changed since the requested version, by ascending version. Each path appears
    /// once, in its present state.
    pub entries: Vec<LibraryEntry>,
    /// The version to pass as `since` in the next request.
    pub next: u64,
    /// Whether another page is available right now.
    pub more: bool,
    /// Number of the user's images that the server found damaged and wants to be sent again (see
    /// [`WantedPage`]). Left out if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wanted: u64,
}

/// Response to `GET /v1/images/wanted`: one page of the user's images that the server found damaged
/// and wants to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPage {
    /// The images, by ascending fingerprint.
    pub fingerprints: Vec<Fingerprint>,
    /// Whether more follow after the last of them.
    pub more: bool,
}

/// The present state of one path in a user's library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryEntry {
    /// The number of the change that last touched this path; the changes of each user are numbered
    /// from 1.
    pub version: u64,
    /// The path.
    pub path: LibraryPath,
    /// The photo at the path; `None` if it was removed or moved away.
    pub photo: Option<LibraryPhoto>,
}

/// A photo at a path in a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryPhoto {
    /// The image's fingerprint.
    pub fingerprint: Fingerprint,
    /// The image's length in bytes.
    pub size: u64,
    /// The file's modification time, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
}

/// Response to `GET /v1/library/trash`: one page of the photos that were removed from a user's
/// library or replaced in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashPage {
    /// The photos, by ascending version. A path appears once for each photo removed from it.
    pub entries: Vec<TrashedPhoto>,
    /// The version to pass as `after` in the next request.
    pub next: u64,
    /// Whether another page is available.
    pub more: bool,
    /// Seconds for which the trash keeps a photo after its removal.
    pub kept_for_s: u64,
}

/// A photo in the trash. To restore it, put it back at its path (see [`LibraryChange::Put`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashedPhoto {
    /// The path it was removed from.
    pub path: LibraryPath,
    /// The version that the path had before the removal.
    pub version: u64,
    /// The photo.
    pub photo: LibraryPhoto,
    /// When it was removed or replaced, in milliseconds since the Unix epoch, by the server's
    /// clock.
    pub removed_at_ms: i64,
    /// The version that the path has now; 0 if it is empty.
    #[serde(rename = "standing")]
    pub current_version: u64,
}

/// Response to `GET /v1/status`: what the user has on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The server's version.
    pub version: String,
    /// Number of images the user holds.
    pub images: u64,
    /// Total size of these images in bytes.
    pub image_bytes: u64,
    /// Number of photos in the user's library.
    pub library_photos: u64,
    /// Number of photos in the user's trash.
    pub trashed_photos: u64,
    /// Number of the user's interrupted uploads.
    pub interrupted_uploads: u64,
    /// Bytes that count toward the quota: every image the user holds, in the library or the trash.
    #[serde(default)]
    pub held_bytes: u64,
    /// The user's quota in bytes; `None` if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Number of the user's images that the server found damaged and wants to be sent again.
    #[serde(default)]
    pub damaged_images: u64,
}
