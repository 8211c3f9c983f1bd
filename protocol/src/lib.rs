//! The protocol between Heirloom's client and server: routes, messages, errors and their limits.
//!
//! Nothing here does I/O or waits: these are values and their encoding on the wire. Both sides
//! parse into these types once, at the edge, and trust them afterwards. docs/PROTOCOL.md is the
//! reference.
//!
//! The modules, from the top layer down; a module names only modules below it:

/// Routes, their headers and the limits of requests.
pub mod route;
/// Image batches: several small images in one upload request.
pub mod batch;
/// Messages: the JSON bodies of requests and responses.
pub mod message;
/// Errors: the closed list of codes, their HTTP statuses and RFC 9457 bodies.
pub mod problem;
/// Proof of possession: that a client holds an image's bytes and not only its fingerprint.
pub mod possession;
/// Signatures of receipts (Ed25519).
pub mod signature;
/// `Content-Digest`, the checksum of one message's bytes (RFC 9530).
pub mod digest;
/// Paths of photos in a user's library.
pub mod path;
/// Shard sizes: how many bytes go into one upload request.
pub mod shard;
/// Byte ranges, and sets of them.
pub mod ranges;
/// Fingerprints: the identity of an image, SHA-256 of its content.
pub mod fingerprint;

pub use digest::ContentDigest;
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use path::LibraryPath;
pub use problem::{ErrorCode, Problem};
pub use ranges::{ByteRange, RangeSet};
pub use shard::{LinkKind, ShardSize};
