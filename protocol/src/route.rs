//! What may be asked: the routes, their headers and limits. docs/PROTOCOL.md describes each.

use crate::fingerprint::Fingerprint;

/// Who am I, and what holds for me.
pub const SESSION: &str = "/v1/session";
/// A token for a password.
pub const LOGIN: &str = "/v1/login";
/// The detection request (M4).
pub const CHECK: &str = "/v1/images/check";
/// Images that the server found damaged and asks for again.
pub const WANTED: &str = "/v1/images/wanted";
/// Several small images in one request, see [`crate::batch`].
pub const PARCELS: &str = "/v1/parcels";
/// The user's library: changes and the change feed (M11).
pub const LIBRARY_CHANGES: &str = "/v1/library/changes";
/// What was removed from the user's library, or replaced in it.
pub const LIBRARY_TRASH: &str = "/v1/library/trash";
/// What this user has on the server.
pub const STATUS: &str = "/v1/status";
/// Numbers for those who run the server, in Prometheus' text format.
pub const METRICS: &str = "/metrics";
/// Whether the server answers at all.
pub const HEALTH: &str = "/healthz";
/// One upload, as a pattern for a router; see [`upload`].
pub const UPLOAD_PATTERN: &str = "/v1/uploads/{fingerprint}";
/// One shard, as a pattern for a router; see [`shard`].
pub const SHARD_PATTERN: &str = "/v1/uploads/{fingerprint}/{offset}";
/// The receipt of an image that was read again for it, as a pattern for a router; see
/// [`fresh_receipt`].
pub const FRESH_RECEIPT_PATTERN: &str = "/v1/images/{fingerprint}/receipt";
/// One image, as a pattern for a router; see [`image`].
pub const IMAGE_PATTERN: &str = "/v1/images/{fingerprint}";

/// The interruption list's entry for an image (M6).
pub fn upload(fingerprint: Fingerprint) -> String {
    format!("/v1/uploads/{fingerprint}")
}

/// Where the shard at `offset` bytes goes (M5).
pub fn shard(fingerprint: Fingerprint, offset: u64) -> String {
    format!("/v1/uploads/{fingerprint}/{offset}")
}

/// An image's bytes.
pub fn image(fingerprint: Fingerprint) -> String {
    format!("/v1/images/{fingerprint}")
}

/// The receipt of an image whose bytes are read again for it.
pub fn fresh_receipt(fingerprint: Fingerprint) -> String {
    format!("/v1/images/{fingerprint}/receipt")
}

/// The change feed from behind `since`, waiting up to `wait_s` seconds for news.
pub fn library_feed(since: u64, wait_s: u64) -> String {
    format!("{LIBRARY_CHANGES}?since={since}&wait={wait_s}")
}

/// Images that are asked for again, behind this one.
pub fn wanted(after: Option<Fingerprint>) -> String {
    after.map_or_else(
        || WANTED.to_owned(),
        |after| format!("{WANTED}?after={after}"),
    )
}

/// The user's trash behind the version `after`.
pub fn library_trash(after: u64) -> String {
    format!("{LIBRARY_TRASH}?after={after}")
}

/// Header of a shard: the whole image's length in bytes.
pub const UPLOAD_LENGTH: &str = "upload-length";
/// Header of a shard: SHA-256 of its bytes (RFC 9530); see [`crate::ContentDigest`].
pub const CONTENT_DIGEST: &str = "content-digest";

/// Images in one check, at most: 1,000 at some 200 bytes each is one comfortable request.
pub const CHECK_IMAGES_MAX: usize = 1000;
/// Changes in one library batch, at most.
pub const LIBRARY_CHANGES_MAX: usize = 1000;
/// Entries in one answer of the change feed, at most.
pub const FEED_ENTRIES_MAX: usize = 5000;
/// Photos in one page of the trash, at most.
pub const TRASH_ENTRIES_MAX: usize = 1000;
/// Images in one answer of those asked for again, at most.
pub const WANTED_MAX: usize = 1000;
/// Seconds that the change feed waits for news, at most: below what proxies cut off.
pub const FEED_WAIT_S_MAX: u64 = 55;
/// Bytes in one image, at most: 16 GiB, above any photograph or film of a camera's.
pub const IMAGE_BYTES_MAX: u64 = 16 << 30;
