//! The transport: what all deliveries share. The connection, the budget, the pace, and the count of
//! bytes sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::{Limits, Receipt, UploadState};
use heirloom_protocol::{ByteRange, ErrorCode, LinkKind};

use super::budget::{Budget, SHARD_BYTES_MAX, Turn};
use super::buffer_pool::BufferPool;
use super::chunked_upload::{
    ChunkResult, ChunkedUpload, DeliveryError, ProgressSink, ResumeSource,
};
use super::image::ImageFile;
use super::network;
use super::shard_size::{AdaptiveShardSize, InFlight};
use crate::background::run_blocking;
use crate::remote::{Payload, Remote, RemoteError};

/// Carries images to one server. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Transport {
    remote: Remote,
    budget: Budget,
    trays: BufferPool,
    pace: Arc<Mutex<AdaptiveShardSize>>,
    began: Instant,
}

impl Transport {
    /// A transport whose pace starts from the link of now. Reads a few small files.
    pub fn new(remote: Remote) -> Self {
        let pace = AdaptiveShardSize::starting_on(network::detect(remote.is_loopback()));
        Self {
            remote,
            budget: Budget::new(),
            trays: BufferPool::default(),
            pace: Arc::new(Mutex::new(pace)),
            began: Instant::now(),
        }
    }

    /// Brings one image to the server: what is missing of it goes out in shards, within the budget.
    ///
    /// May be dropped half-way: what was acknowledged need not be sent again.
    pub async fn deliver(
        &self,
        image: Arc<ImageFile>,
        limits: Limits,
        believed: ResumeSource,
        witness: Arc<dyn ProgressSink>,
    ) -> Result<Receipt, DeliveryError> {
        match ChunkedUpload::new(self, Arc::clone(&image), limits, believed, witness)
            .run()
            .await
        {
            // Whatever spoilt them, the disk or the way, the bytes here can tell.
            Err(DeliveryError::Remote(error))
                if error.code() == Some(ErrorCode::FingerprintMismatch) =>
            {
                let is_sound = run_blocking(move || image.has_its_fingerprint()).await?;
                Err(if is_sound {
                    error.into()
                } else {
                    DeliveryError::NotItsFingerprint
                })
            }
            delivered => delivered,
        }
    }

    /// The server.
    pub const fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The kind of link that the pace started on.
    pub fn link(&self) -> LinkKind {
        self.pace().link()
    }

    /// How large shards are now, in bytes.
    pub fn shard_bytes(&self) -> u64 {
        self.pace().shard().bytes().min(SHARD_BYTES_MAX)
    }

    /// Bytes acknowledged per second over the last few seconds.
    pub fn bytes_per_second(&self) -> u64 {
        self.pace().bytes_per_second(self.began.elapsed())
    }

    /// Shard bytes sent since the start, resent ones included; of a shard that broke, what the
    /// connection took.
    pub fn sent_bytes(&self) -> u64 {
        self.remote.photo_bytes_sent()
    }

    /// Looks at the link again, after the network was away. Reads a few small files.
    pub(super) async fn look_at_link(&self) {
        let loopback = self.remote.is_loopback();
        let link = run_blocking(move || network::detect(loopback)).await;
        self.pace().moved_to(link);
    }

    /// Waits for the turn of a request with bytes of an image, or of several, of this size.
    pub(super) async fn turn(&self, size: u64) -> Turn {
        self.budget.turn(size).await
    }

    /// What shards and parcels are put on.
    pub(super) const fn trays(&self) -> &BufferPool {
        &self.trays
    }

    /// Sends several images in one request; answers what became of each, in order.
    pub(super) async fn send_parcel(
        &self,
        packed: &[BatchEntry],
        parcel: Payload,
    ) -> Result<Vec<BatchOutcome>, RemoteError> {
        let bytes = parcel.len() as u64;
        let flight = self.pace().begin(self.began.elapsed(), bytes);
        let answer = self.remote.send_parcel(packed, parcel).await;
        self.measure(flight, &answer);
        answer
    }

    /// Reads one shard and sends it. The server's answer is noted before this returns, but after
    /// the turn and the room were given back: others do not wait for our disk.
    pub(super) async fn send(
        &self,
        image: Arc<ImageFile>,
        range: ByteRange,
        turn: Turn,
        witness: Arc<dyn ProgressSink>,
    ) -> ChunkResult {
        let outcome = self.put(image, range, turn).await;
        if let Ok(UploadState::Receiving { .. }) = &outcome {
            run_blocking(move || witness.on_range_stored(range)).await;
        }
        ChunkResult { range, outcome }
    }

    async fn put(
        &self,
        image: Arc<ImageFile>,
        range: ByteRange,
        turn: Turn,
    ) -> Result<UploadState, DeliveryError> {
        let room = turn.room(range.len()).await;
        let (fingerprint, size) = (image.fingerprint(), image.size());
        let trays = self.trays.clone();
        // The room travels with the bytes: if this future is dropped, both end together on the
        // other thread.
        let (shard, _room) =
            run_blocking(move || image.read(range, &trays).map(|shard| (shard, room))).await?;
        let flight = self.pace().begin(self.began.elapsed(), range.len());
        let answer = self
            .remote
            .put_shard(fingerprint, size, range.start(), shard.digest, shard.bytes)
            .await;
        self.measure(flight, &answer);
        Ok(answer?)
    }

    fn measure<Answer>(&self, flight: InFlight, answer: &Result<Answer, RemoteError>) {
        let now = self.began.elapsed();
        match answer {
            Ok(_) => self.pace().acknowledged(flight, now),
            Err(error) if is_of_the_way(error) => self.pace().failed(flight, now),
            Err(_) => {}
        }
    }

    fn pace(&self) -> MutexGuard<'_, AdaptiveShardSize> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a smaller shard might have made it.
fn is_of_the_way(error: &RemoteError) -> bool {
    match error {
        RemoteError::Interrupted { .. } | RemoteError::TimedOut { .. } => true,
        RemoteError::Refused { problem, .. } => {
            matches!(
                problem.code,
                ErrorCode::RequestTimeout | ErrorCode::BodyTooLarge | ErrorCode::DigestMismatch
            )
        }
        RemoteError::LoginNeeded
        | RemoteError::Unreachable { .. }
        | RemoteError::Untrusted { .. }
        | RemoteError::Malformed { .. }
        | RemoteError::InvalidRequest { .. }
        | RemoteError::Authorities { .. }
        | RemoteError::NoAuthorities(_) => false,
    }
}
