//! Assembly: shards become images (M5, M6, M7, M9).
//!
//! Shards come in any order, side by side, overlapping, twice, from two devices at once. Each is
//! durable and in the interruption list before it is acknowledged. When the list covers the image,
//! the stored bytes are read back and hashed, made durable under their fingerprint, recorded as
//! held by the user, and only then is there a receipt. An image that arrives whole in one shard
//! skips the list: it is hashed as it arrives. What came of a shard whose sender broke off is
//! listed, too ([`keeping`]).
//!
//! Three rules keep good bytes good:
//! 1. Bytes that the list has are never written again, so a late shard with other bytes cannot
//!    spoil what was acknowledged ([`crate::turns`] keeps looking and writing together).
//! 2. Bytes first, then the list. A list that promises less than is there costs a shard; one that
//!    promises more would cost the image.
//! 3. To drop an upload, the list first, then the bytes: bytes nobody knows of are swept at the
//!    next start, while a full list without bytes would look like an image that was just sealed.

mod receive;
mod partial;
mod batch;
mod admission;
mod finish;
mod reconcile;

use std::sync::Arc;
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::batch::BatchError;
use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt, UploadState};
use heirloom_protocol::{ByteRange, Fingerprint, ShardSize};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::accounts::Caller;
use crate::blobs::{BlobError, Blobs, ByteStream, UploadKey};
use crate::clock::Clock;
use crate::gc::GarbageCollector;
use crate::index::{Index, IndexError, InterruptedUpload};
use crate::metrics::SharedCounters;
use crate::possession::{LinkCandidates, Possession, PossessionError};
use crate::range_lock::RangeLock;

pub use batch::BATCH_LENGTH_MAX;
pub use receive::Shard;
pub use reconcile::Retention;

/// Bytes of shards held in memory at a time, in the whole server: two of the largest.
const SHARD_MEMORY_BYTES: u64 = 2 * ShardSize::MAX.bytes();

/// How long a shard waits for its share of that memory before the sender is asked to come again.
const SHARD_MEMORY_WAIT: Duration = Duration::from_secs(30);

/// How long a shard may take to arrive once it has that memory: two slow senders must not keep all
/// others out. A shard is meant to take about a second; whoever cannot send one in this time is
/// told so, and makes its shards smaller.
const SHARD_TIME_MAX: Duration = Duration::from_mins(5);

/// How long one check goes on reading stored images for proofs. What is left then is uploaded: a
/// sender must not wait for an answer until it gives up.
const PROOFS_TIME_MAX: Duration = Duration::from_secs(20);

/// The room. Clones share everything.
#[derive(Clone, Debug)]
pub struct UploadService {
    index: Index,
    blobs: Arc<dyn Blobs>,
    possession: Possession,
    clearing: GarbageCollector,
    clock: Clock,
    counters: SharedCounters,
    locks: RangeLock<UploadKey>,
    /// Free bytes of [`SHARD_MEMORY_BYTES`].
    memory: Arc<Semaphore>,
    /// Writes that go on although whoever asked for them has left.
    writes: TaskTracker,
}

/// What keeps a shard from becoming part of an image, or an image from being read.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The index failed.
    #[error("look up or record {fingerprint}")]
    Index {
        /// Which image.
        fingerprint: Fingerprint,
        /// Why.
        source: IndexError,
    },
    /// The index failed for a whole batch.
    #[error("look up a batch of images")]
    Check(#[source] IndexError),
    /// The index failed during a sweep.
    #[error("sweep what expired")]
    Expire(#[source] IndexError),
    /// The storage failed during a sweep.
    #[error("sweep unfinished uploads")]
    ListUploads(#[source] BlobError),
    /// A proof could not be checked.
    #[error("check a proof of possession")]
    Possession(#[source] PossessionError),
    /// The storage failed.
    #[error("store {fingerprint}")]
    Blobs {
        /// Which image.
        fingerprint: Fingerprint,
        /// Why.
        source: BlobError,
    },
    /// The shard's upload was begun for an image of another length.
    #[error("the upload was begun with {first} bytes, the shard says {now}")]
    LengthMismatch {
        /// As the first shard said.
        first: u64,
        /// As this one says.
        now: u64,
    },
    /// The sender stopped, stalled, or sent too little or too much.
    #[error("receive a shard")]
    Sender(#[source] std::io::Error),
    /// The bytes that arrived do not have the digest they were sent with.
    #[error("shard {0} does not have its digest")]
    DigestMismatch(ByteRange),
    /// The whole image does not have its fingerprint; all of it was dropped.
    #[error("the bytes are {found}, not {expected}")]
    FingerprintMismatch {
        /// As the sender says.
        expected: Fingerprint,
        /// As the bytes say.
        found: Fingerprint,
    },
    /// What arrived is no parcel.
    #[error("open a parcel")]
    Batch(#[source] BatchError),
    /// Too many shards are on their way in.
    #[error("no memory left for a shard")]
    Overloaded,
    /// A write ended without an answer: a fault of ours.
    #[error("finish a write of {0}")]
    TaskFailed(Fingerprint),
}

/// An image that the caller holds, to be read.
#[derive(Debug)]
pub struct HeldImage {
    receipt: Receipt,
    index: Index,
    blobs: Arc<dyn Blobs>,
}

impl UploadService {
    /// The room over `index` and `blobs`.
    pub fn new(
        index: Index,
        blobs: Arc<dyn Blobs>,
        possession: Possession,
        clearing: GarbageCollector,
        clock: Clock,
        counters: SharedCounters,
    ) -> Self {
        let bytes = usize::try_from(SHARD_MEMORY_BYTES).expect("32 MiB fit any address space");
        Self {
            index,
            blobs,
            possession,
            clearing,
            clock,
            counters,
            locks: RangeLock::default(),
            memory: Arc::new(Semaphore::new(bytes)),
            writes: TaskTracker::new(),
        }
    }

    /// The detection request (M4): what the server has of each image, in the order asked. Three
    /// round trips to the index for the whole batch; only what somebody else brought costs a look
    /// at its proof.
    pub async fn check(
        &self,
        caller: &Caller,
        images: &[CheckImage],
    ) -> Result<Vec<CheckedImage>, UploadError> {
        let fingerprints: Vec<_> = images.iter().map(|image| image.fingerprint).collect();
        let receipts = self
            .index
            .receipts(caller.user, &fingerprints)
            .await
            .map_err(UploadError::Check)?;
        let not_held: Vec<_> = images
            .iter()
            .filter(|image| !receipts.contains_key(&image.fingerprint))
            .collect();
        let begun: Vec<_> = not_held.iter().map(|image| image.fingerprint).collect();
        let mut uploads = self
            .index
            .interrupted_uploads(caller.user, &begun)
            .await
            .map_err(UploadError::Check)?;
        let candidates = self
            .possession
            .candidates(&not_held)
            .await
            .map_err(UploadError::Possession)?;
        self.counters.images_checked.add(images.len() as u64);

        let until = tokio::time::Instant::now() + PROOFS_TIME_MAX;
        let mut answers = Vec::with_capacity(images.len());
        for image in images {
            let fingerprint = image.fingerprint;
            answers.push(if let Some(receipt) = receipts.get(&fingerprint) {
                CheckedImage::Owned { receipt: *receipt }
            } else if let Some(receipt) = self.linked(caller, image, &candidates, until).await? {
                if uploads.contains_key(&fingerprint) {
                    self.discard(UploadKey {
                        user: caller.user,
                        fingerprint,
                    })
                    .await?;
                }
                CheckedImage::Linked { receipt }
            } else if let Some(upload) = uploads.remove(&fingerprint) {
                CheckedImage::Interrupted {
                    fingerprint,
                    received: upload.received,
                }
            } else {
                CheckedImage::Absent { fingerprint }
            });
        }
        Ok(answers)
    }

    async fn linked(
        &self,
        caller: &Caller,
        image: &CheckImage,
        candidates: &LinkCandidates,
        until: tokio::time::Instant,
    ) -> Result<Option<Receipt>, UploadError> {
        if tokio::time::Instant::now() >= until {
            return Ok(None);
        }
        self.possession
            .verify(caller, image, candidates)
            .await
            .map_err(UploadError::Possession)
    }

    /// How far an upload is; none if there is nothing of it. One that has all its bytes is brought
    /// to its end first.
    ///
    /// Who asks has often just lost a connection, so whatever of this upload is on its way to the
    /// disk is waited for.
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
                let room = self.clone();
                let sealed = self.writes.spawn(async move { room.seal(key, size).await });
                sealed
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

    /// Drops what arrived of an upload, if anything did. An image that became whole stays.
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

    /// Drops an upload, alone with it, and to the end even if the caller does not wait for it.
    async fn discard(&self, key: UploadKey) -> Result<(), UploadError> {
        let room = self.clone();
        let dropped = self.writes.spawn(async move {
            let _alone = room.locks.lock_all(key).await;
            room.abandon(key).await
        });
        dropped
            .await
            .map_err(|_| UploadError::TaskFailed(key.fingerprint))?
    }

    /// An image to be read, if the caller holds it.
    pub async fn image(
        &self,
        caller: &Caller,
        fingerprint: Fingerprint,
    ) -> Result<Option<HeldImage>, UploadError> {
        let receipt = self
            .receipt_of(UploadKey {
                user: caller.user,
                fingerprint,
            })
            .await?;
        let held = |receipt| HeldImage {
            receipt,
            index: self.index.clone(),
            blobs: Arc::clone(&self.blobs),
        };
        Ok(receipt.map(held))
    }

    /// Waits for the writes that go on although nobody waits for their answer.
    pub async fn drain(&self) {
        self.writes.close();
        self.writes.wait().await;
    }

    async fn receipt_of(&self, key: UploadKey) -> Result<Option<Receipt>, UploadError> {
        let fingerprint = key.fingerprint;
        let found = self.index.receipts(key.user, &[fingerprint]).await;
        found
            .map(|mut receipts| receipts.remove(&fingerprint))
            .map_err(|source| index_failed(fingerprint, source))
    }

    async fn upload_of(&self, key: UploadKey) -> Result<Option<InterruptedUpload>, UploadError> {
        let fingerprint = key.fingerprint;
        let found = self
            .index
            .interrupted_uploads(key.user, &[fingerprint])
            .await;
        found
            .map(|mut uploads| uploads.remove(&fingerprint))
            .map_err(|source| index_failed(fingerprint, source))
    }

    /// Drops an upload that nobody goes on with. An image that was sealed and refused its record
    /// goes with it: whose list is full has sent all of it. (Whoever has not must not have the
    /// bytes of an unknown image removed by naming it.)
    async fn abandon(&self, key: UploadKey) -> Result<(), UploadError> {
        let is_full = |upload: InterruptedUpload| upload.received.covers(upload.size);
        let sealed = self.upload_of(key).await?.is_some_and(is_full);
        self.drop_upload(key).await?;
        if sealed {
            self.clearing.remove_rejected(key.fingerprint).await;
        }
        Ok(())
    }

    /// The list first, then the bytes: rule 3.
    async fn drop_upload(&self, key: UploadKey) -> Result<(), UploadError> {
        let fingerprint = key.fingerprint;
        let forgotten = self.index.delete_upload(key.user, fingerprint).await;
        forgotten.map_err(|source| index_failed(fingerprint, source))?;
        heirloom_crash::reached(CrashPoint::UploadUnlisted);
        self.blobs
            .discard(key)
            .await
            .map_err(|source| UploadError::Blobs {
                fingerprint,
                source,
            })
    }
}

impl HeldImage {
    /// What the server vouched for.
    pub const fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Some of the image's bytes. If they are gone, the image is quarantined: the next check asks
    /// for it again.
    pub async fn read(&self, range: ByteRange) -> Result<ByteStream<'static>, UploadError> {
        let fingerprint = self.receipt.fingerprint;
        let read = self.blobs.read(fingerprint, range).await;
        if let Err(BlobError::Missing(_) | BlobError::TooShort { .. }) = read {
            tracing::error!(%fingerprint, "a stored image is gone; quarantined until it is sent again");
            let quarantined = self.index.quarantine(fingerprint).await;
            quarantined.map_err(|source| index_failed(fingerprint, source))?;
        }
        read.map_err(|source| UploadError::Blobs {
            fingerprint,
            source,
        })
    }
}

const fn index_failed(fingerprint: Fingerprint, source: IndexError) -> UploadError {
    UploadError::Index {
        fingerprint,
        source,
    }
}

#[cfg(test)]
mod tests;
