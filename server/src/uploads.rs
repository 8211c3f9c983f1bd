//! Uploads: shards become images.
//!
//! Shards arrive in any order, in parallel, overlapping, twice, and from two devices at once. Each
//! is durable and recorded in the interruption list before it is acknowledged. When the list covers
//! the image, the stored bytes are read back and hashed, made durable under their fingerprint, and
//! recorded as held by the user; only then is there a receipt. An image that arrives whole in one
//! shard skips the list: it is hashed as it arrives. The bytes that arrived of a shard whose sender
//! disconnected are recorded as well (see `partial.rs`).
//!
//! Three rules protect stored bytes:
//! 1. Bytes in the list are never written again, so a late shard with other bytes cannot corrupt
//!    what was acknowledged. [`crate::range_lock`] makes the check and the write one step.
//! 2. Bytes first, then the list. A list that promises too little costs a shard; one that promises
//!    too much would cost the image.
//! 3. To delete an upload: the list entry first, then the bytes. Bytes without an entry are removed
//!    at the next start, while a complete entry without bytes would look like an upload that was
//!    just finished.

mod reconcile;
mod expire;
mod batch;
mod receive;
mod check;
mod state;
mod partial;
mod finish;
mod shard_write;
mod body;
mod admission;
mod held_image;
mod service;
mod error;

#[cfg(test)]
mod tests;

pub use batch::BATCH_LENGTH_MAX;
pub use error::UploadError;
pub use expire::Retention;
pub use held_image::HeldImage;
pub use receive::Shard;
pub use service::UploadService;
