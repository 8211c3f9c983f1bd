//! Routes, their headers and the limits of requests. docs/PROTOCOL.md describes each route.

use crate::fingerprint::Fingerprint;

/// The authenticated user, their permissions and limits.
pub const SESSION: &str = "/v1/session";
/// Exchanges a password for a token.
pub const LOGIN: &str = "/v1/login";
/// The batched check: which of these images does the server have?
pub const CHECK: &str = "/v1/images/check";
/// Images that the server found damaged and wants to be sent again.
pub const WANTED: &str = "/v1/images/wanted";
/// Uploads several small images in one request; see [`crate::batch`].
pub const BATCHES: &str = "/v1/parcels";
/// The user's library: changes to it (`POST`) and its change feed (`GET`).
pub const LIBRARY_CHANGES: &str = "/v1/library/changes";
/// Photos that were removed from the user's library or replaced in it.
pub const LIBRARY_TRASH: &str = "/v1/library/trash";
/// What the user has on the server, in numbers.
pub const STATUS: &str = "/v1/status";
/// The server's metrics, in Prometheus' text format.
pub const METRICS: &str = "/metrics";
/// Health check: answers `ok` while the server runs.
pub const HEALTH: &str = "/healthz";
/// Router pattern of an upload; see [`upload`].
pub const UPLOAD_PATTERN: &str = "/v1/uploads/{fingerprint}";
/// Router pattern of a shard; see [`shard`].
pub const SHARD_PATTERN: &str = "/v1/uploads/{fingerprint}/{offset}";
/// Router pattern of a fresh receipt; see [`fresh_receipt`].
pub const FRESH_RECEIPT_PATTERN: &str = "/v1/images/{fingerprint}/receipt";
/// Router pattern of an image; see [`image`].
pub const IMAGE_PATTERN: &str = "/v1/images/{fingerprint}";

/// The path of an upload: its entry in the interruption list.
pub fn upload(fingerprint: Fingerprint) -> String {
    format!("/v1/uploads/{fingerprint}")
}

/// The path of the shard that begins `offset` bytes into the image.
pub fn shard(fingerprint: Fingerprint, offset: u64) -> String {
    format!("/v1/uploads/{fingerprint}/{offset}")
}

/// The path of an image's bytes.
pub fn image(fingerprint: Fingerprint) -> String {
    format!("/v1/images/{fingerprint}")
}

/// The path of a fresh receipt: the server reads and verifies the stored bytes before it signs.
pub fn fresh_receipt(fingerprint: Fingerprint) -> String {
    format!("/v1/images/{fingerprint}/receipt")
}

/// The path of the change feed after version `since`. If there is no change yet, the server waits
/// up to `wait_s` seconds for one (long polling).
pub fn library_feed(since: u64, wait_s: u64) -> String {
    format!("{LIBRARY_CHANGES}?since={since}&wait={wait_s}")
}

/// The path of the list of wanted images that follow `after`.
pub fn wanted(after: Option<Fingerprint>) -> String {
    after.map_or_else(
        || WANTED.to_owned(),
        |after| format!("{WANTED}?after={after}"),
    )
}

/// The path of the trash, from the first version greater than `after`.
pub fn library_trash(after: u64) -> String {
    format!("{LIBRARY_TRASH}?after={after}")
}

/// Request header of a shard: the length of the whole image in bytes.
pub const UPLOAD_LENGTH: &str = "upload-length";
/// Request header of a shard: SHA-256 of the shard's bytes (RFC 9530); see
/// [`crate::ContentDigest`].
pub const CONTENT_DIGEST: &str = "content-digest";

/// Maximum number of images in one check. At about 200 bytes each, 1,000 make a request of 200 kB.
pub const CHECK_IMAGES_MAX: usize = 1000;
/// Maximum number of changes in one library batch.
pub const LIBRARY_CHANGES_MAX: usize = 1000;
/// Maximum number of entries in one page of the change feed.
pub const FEED_ENTRIES_MAX: usize = 5000;
/// Maximum number of photos in one page of the trash.
pub const TRASH_ENTRIES_MAX: usize = 1000;
/// Maximum number of images in one page of the wanted list.
pub const WANTED_MAX: usize = 1000;
/// Maximum time the change feed waits for a change, in seconds: below the usual 60 s after which
/// proxies close an idle request.
pub const FEED_WAIT_S_MAX: u64 = 55;
/// Maximum size of an image in bytes: 16 GiB, more than any photo or film that a camera makes.
pub const IMAGE_BYTES_MAX: u64 = 16 << 30;
