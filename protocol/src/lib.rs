//! The words that the client and the server share.
//!
//! Nothing here reads a file, opens a socket or waits: these are values, their limits and their
//! spelling on the wire. Both sides parse into these types once, at the edge, and trust them after.
//!
//! The rooms, in walking order; each names only rooms below it:

/// What may be asked: the routes under `/v1`, their headers and limits.
pub mod route;
/// Several small images in one request.
pub mod batch;
/// What is said: the JSON bodies of requests and answers.
pub mod message;
/// What went wrong: the closed list of error codes and their statuses.
pub mod problem;
/// Proof that one holds an image's bytes, not only its fingerprint (M9).
pub mod possession;
/// The server's hand under its word that it has an image.
pub mod signature;
/// `Content-Digest`, the checksum of one message's bytes.
pub mod digest;
/// Where a photo stands in a user's library.
pub mod path;
/// How many bytes go into one request (M8).
pub mod shard;
/// Which parts of an image have arrived (M6).
pub mod ranges;
/// The identity of an image: SHA-256 of its content (M2).
pub mod fingerprint;

pub use digest::ContentDigest;
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use path::LibraryPath;
pub use problem::{ErrorCode, Problem};
pub use ranges::{ByteRange, RangeSet};
pub use shard::{LinkKind, ShardSize};
