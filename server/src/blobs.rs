//! The bytes of images and of unfinished uploads.
//!
//! [`BlobStore`] is the interface; [`LocalBlobStore`] keeps the bytes in a local directory. Every
//! implementation passes the contract suite `server/tests/blobs_contract`.

mod local;
mod disk;
mod blob_store;
mod prefix_lock;
mod error;
mod upload_key;

pub use blob_store::{BlobStore, ByteStream, RemovedStats, StoredBatch, StoredImage};
pub use error::{BlobError, PartialBody};
pub use local::LocalBlobStore;
pub use prefix_lock::{ExclusiveGuard, Prefix, SharedGuard};
pub use upload_key::UploadKey;
