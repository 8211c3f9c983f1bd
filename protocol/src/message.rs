//! The JSON bodies of requests and answers.
//!
//! Requests refuse unknown fields: a client that says more than the server understands must hear
//! so. Answers are read leniently: a newer server may say more than this client understands.
//! Every message has a golden file in `protocol/tests/golden/`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::path::LibraryPath;
use crate::possession::{Nonce, Proof, UserId};
use crate::problem::ErrorCode;
use crate::ranges::RangeSet;
use crate::signature::{ReceiptKey, Signature, Statement};

/// Body of `POST /v1/login`: a password, for a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The account's name.
    pub user: String,
    /// What only its owner knows. `Debug` does not show it.
    pub password: String,
    /// What to call the device that the token is for, in 1 to 64 visible ASCII characters. If the
    /// user has one of that name, the new one gets a similar one.
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

/// Answer of `POST /v1/login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAnswer {
    /// What to show from now on. `Debug` does not show it.
    pub token: String,
}

impl fmt::Debug for LoginAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoginAnswer")
            .finish_non_exhaustive()
    }
}

/// Answer of `GET /v1/session`: who is asking, and what holds for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The account.
    pub user: UserId,
    /// The account's name, for people.
    pub name: String,
    /// What the token may do. Servers before this word gave out none but full ones.
    #[serde(default)]
    pub scope: Scope,
    /// Which installation this is, in 32 hex digits: a client that meets another one under the same
    /// address must not take its own sync list for that one's.
    pub installation: String,
    /// What proofs are made with.
    pub nonce: Nonce,
    /// For how many more seconds this nonce is the newest one; it stays good for an hour after.
    pub nonce_renewal_s: u64,
    /// Whether images of other users may be linked.
    pub cross_user: CrossUser,
    /// What receipts are signed with. Servers before this word signed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_key: Option<ReceiptKey>,
    /// What one request may hold.
    pub limits: Limits,
    /// The server's clock, in milliseconds since the epoch.
    pub server_time_ms: i64,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All that its user may.
    #[default]
    Full,
    /// Read, and add what was not there. Whoever steals it, or the machine that has it, can spoil
    /// nothing.
    AppendOnly,
    /// Read.
    ReadOnly,
}

/// Policy for images that another user holds (M9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossUser {
    /// Linked at once after proof of possession.
    #[default]
    Proof,
    /// Linked only after a full upload: nothing can be learned from the server's answers.
    Off,
}

/// What one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Images in one check.
    pub check_images_max: usize,
    /// Changes in one library batch.
    pub library_changes_max: usize,
    /// Bytes in one shard, at least, unless it is an image's last.
    pub shard_bytes_min: u64,
    /// Bytes in one shard, at most.
    pub shard_bytes_max: u64,
    /// Bytes in one image, at most.
    pub image_bytes_max: u64,
    /// Bytes of images in one parcel, at most; 0 of a server that takes none.
    #[serde(default)]
    pub parcel_bytes_max: u64,
}

/// One image in a detection request, `POST /v1/images/check` (M4). The body is a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckImage {
    /// Which image.
    pub fingerprint: Fingerprint,
    /// Its length in bytes.
    pub size: u64,
    /// That the sender has its bytes; without it, only this user's own images are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What the server has of one image; the answer to a check is a list of these, in the order asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CheckedImage {
    /// This user has it already: "already backed up".
    Owned {
        /// What the server vouches for.
        receipt: Receipt,
    },
    /// Another user had it, and now this one has it too: instant upload.
    Linked {
        /// What the server vouches for.
        receipt: Receipt,
    },
    /// This user's upload of it was interrupted (M6).
    Interrupted {
        /// The image.
        fingerprint: Fingerprint,
        /// What has arrived, durably.
        received: RangeSet,
    },
    /// Nothing that this user may know of.
    Absent {
        /// The image.
        fingerprint: Fingerprint,
    },
}

impl CheckedImage {
    /// The image that the answer speaks of.
    pub const fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Owned { receipt } | Self::Linked { receipt } => receipt.fingerprint,
            Self::Interrupted { fingerprint, .. } | Self::Absent { fingerprint } => *fingerprint,
        }
    }
}

/// The server's word that it has read an image back, hashed it and made it durable (M7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The image.
    pub fingerprint: Fingerprint,
    /// Its length in bytes.
    pub size: u64,
    /// When this user came to hold it, in milliseconds since the epoch, by the server's clock.
    pub stored_at_ms: i64,
    /// The server's hand under it. Left out of what a check only repeats: a thousand signatures
    /// would cost more than a thousand look-ups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

impl Receipt {
    /// What a signature under it is about.
    pub const fn statement(&self, user: UserId) -> Statement {
        Statement {
            user: user.0,
            fingerprint: self.fingerprint,
            size: self.size,
            stored_at_ms: self.stored_at_ms,
        }
    }
}

/// Answer of `GET /v1/images/{fingerprint}/receipt`: the server has just read the stored bytes and
/// hashed them, and they are what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshReceipt {
    /// Signed.
    pub receipt: Receipt,
    /// When the bytes were read, in milliseconds since the epoch, by the server's clock.
    pub hashed_at_ms: i64,
}

/// Answer of `PUT` and `GET /v1/uploads/{fingerprint}`: how far an upload is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum UploadState {
    /// Some of the image is there.
    Receiving {
        /// The length that the first shard announced, in bytes.
        size: u64,
        /// What has arrived, durably.
        received: RangeSet,
    },
    /// All of it is there, verified and durable.
    Stored {
        /// What the server vouches for.
        receipt: Receipt,
    },
}

/// Body of `POST /v1/library/changes`. Changes are carried out in their order, each for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryBatch {
    /// What to change.
    pub changes: Vec<LibraryChange>,
}

/// One change to a user's library (M11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum LibraryChange {
    /// A photo stands at `path`. What stood there before moves to the trash.
    Put {
        /// Where.
        path: LibraryPath,
        /// What; the user must hold it.
        fingerprint: Fingerprint,
        /// The file's modification time, in nanoseconds since the epoch. Stored as given.
        mtime_ns: i64,
        /// The version of what the sender believes stands there; 0, which is left out, for nothing.
        #[serde(default, skip_serializing_if = "is_nothing")]
        base: u64,
    },
    /// The photo at `from` stands at `to` from now on. What stood at `to` moves to the trash.
    Move {
        /// Where it stood.
        from: LibraryPath,
        /// Where it stands now.
        to: LibraryPath,
        /// The version that the sender believes `from` has.
        #[serde(default, skip_serializing_if = "is_nothing")]
        base: u64,
    },
    /// The photo at `path` moves to the trash. The image's bytes stay.
    Remove {
        /// Where it stood.
        path: LibraryPath,
        /// The version that the sender believes it has.
        #[serde(default, skip_serializing_if = "is_nothing")]
        base: u64,
    },
}

/// A change based on nothing need not say so: most are, and a photo that only gets another name
/// costs little more than its name.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_nothing(base: &u64) -> bool {
    *base == 0
}

/// Answer of `POST /v1/library/changes`: one outcome for each change, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryOutcomes {
    /// What became of each.
    pub outcomes: Vec<LibraryOutcome>,
}

/// What became of one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LibraryOutcome {
    /// It holds. Also the answer where it held already: a change may be sent twice.
    Applied {
        /// The version that the path has now (of a move: the new path).
        version: u64,
    },
    /// Something else stands there than the sender believed. Nothing was changed.
    Conflict {
        /// The version that stands there; 0 for nothing.
        current: u64,
    },
    /// It cannot be done.
    Refused {
        /// Why.
        code: ErrorCode,
    },
}

/// Answer of `GET /v1/library/changes`: the change feed of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryFeed {
    /// What changed since the version asked for, ascending. A path appears once, as it stands now.
    pub entries: Vec<LibraryEntry>,
    /// The version to ask from next time.
    pub next: u64,
    /// Whether there is more right now.
    pub more: bool,
    /// How many images of this user's the server found damaged: whoever has them is asked to send
    /// them again (see [`WantedPage`]). Left out where there are none.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub wanted: u64,
}

/// Answer of `GET /v1/images/wanted`: images that this user holds and that the server found
/// damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPage {
    /// By ascending fingerprint.
    pub fingerprints: Vec<Fingerprint>,
    /// Whether there is more behind the last of them.
    pub more: bool,
}

/// One place in a user's library, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryEntry {
    /// Counts the user's changes; this path last changed at that count.
    pub version: u64,
    /// Where.
    pub path: LibraryPath,
    /// What stands there; nothing if it was removed or moved away.
    pub photo: Option<LibraryPhoto>,
}

/// The photo at a place in the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryPhoto {
    /// The image.
    pub fingerprint: Fingerprint,
    /// Its length in bytes.
    pub size: u64,
    /// The file's modification time, in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// Answer of `GET /v1/library/trash`: what was removed from one user's library, or replaced in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashPage {
    /// By ascending version. A path stands here once for each photo that was lost from it.
    pub entries: Vec<TrashedPhoto>,
    /// The version to ask from next time.
    pub next: u64,
    /// Whether there is more.
    pub more: bool,
    /// For how many seconds the trash keeps a photo, counted from its removal.
    pub kept_for_s: u64,
}

/// A photo in the trash. To restore it is to put it where it stood (see [`LibraryChange::Put`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashedPhoto {
    /// Where it stood.
    pub path: LibraryPath,
    /// The version that the path had then.
    pub version: u64,
    /// What stood there.
    pub photo: LibraryPhoto,
    /// When it was removed or replaced, in milliseconds since the epoch, by the server's clock.
    pub removed_at_ms: i64,
    /// The version of what stands there now; 0 for nothing.
    pub standing: u64,
}

/// Answer of `GET /v1/status`: what this user has on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The server's version.
    pub version: String,
    /// Images that the user holds.
    pub images: u64,
    /// Their bytes.
    pub image_bytes: u64,
    /// Places in the user's library.
    pub library_photos: u64,
    /// Places in the user's trash.
    pub trashed_photos: u64,
    /// The user's interrupted uploads.
    pub interrupted_uploads: u64,
    /// Bytes that count for the quota: of every image that the user holds, in the library or in the
    /// trash.
    #[serde(default)]
    pub held_bytes: u64,
    /// The most that they may hold, in bytes; nothing if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Images of the user's that the server found damaged and asks for again.
    #[serde(default)]
    pub damaged_images: u64,
}
