//! The transport: sends shards and batches to one server, within the in-flight budget, and measures
//! them. Every upload shares it. It knows single requests only; what an image needs in total is
//! `chunked_upload`'s.

use std::sync::Arc;

use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::UploadState;
use heirloom_protocol::{ByteRange, ErrorCode, LinkKind};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::budget::{InFlightBudget, RequestPermit};
use super::buffer_pool::BufferPool;
use super::image_file::ImageFile;
use super::limits::SHARD_BYTES_MAX;
use super::network;
use super::shard_size::{AdaptiveShardSize, InFlightShard};
use super::types::{ProgressSink, UploadError};
use crate::background::run_blocking;
use crate::remote::{Payload, RemoteError, UploadServer};

/// Sends image bytes to one server. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Transport {
    server: Arc<dyn UploadServer>,
    budget: InFlightBudget,
    buffers: BufferPool,
    shard_size: Arc<Mutex<AdaptiveShardSize>>,
    started: Instant,
}

/// A shard that was sent, and the server's answer.
pub(super) struct ShardResult {
    pub(super) range: ByteRange,
    pub(super) outcome: Result<UploadState, UploadError>,
}

impl Transport {
    /// A transport whose first shard size follows from the present network link. Reads a few small
    /// files.
    pub fn new(server: impl UploadServer) -> Self {
        let link = network::detect(server.is_loopback());
        Self {
            server: Arc::new(server),
            budget: InFlightBudget::new(),
            buffers: BufferPool::default(),
            shard_size: Arc::new(Mutex::new(AdaptiveShardSize::starting_on(link))),
            started: Instant::now(),
        }
    }

    /// The server.
    pub(super) fn server(&self) -> &dyn UploadServer {
        &*self.server
    }

    /// The kind of network link that set the first shard size.
    pub fn link(&self) -> LinkKind {
        self.shard_size().link()
    }

    /// The present shard size, in bytes.
    pub fn shard_bytes(&self) -> u64 {
        self.shard_size().current().bytes().min(SHARD_BYTES_MAX)
    }

    /// Bytes acknowledged per second over the last few seconds.
    pub fn bytes_per_second(&self) -> u64 {
        self.shard_size().bytes_per_second(self.started.elapsed())
    }

    /// Image bytes sent since the start, those sent again included; of a shard that failed, the
    /// bytes that the connection took.
    pub fn sent_bytes(&self) -> u64 {
        self.server.image_bytes_sent()
    }

    /// Detects the network link again, after the server was unreachable. Reads a few small files.
    pub(super) async fn detect_link(&self) {
        let loopback = self.server.is_loopback();
        let link = run_blocking(move || network::detect(loopback)).await;
        self.shard_size().on_link_change(link);
    }

    /// Waits for the permit to send one request with bytes of an image, or of several, of this
    /// size.
    pub(super) async fn request_permit(&self, size: u64) -> RequestPermit {
        self.budget.request(size).await
    }

    /// The memory for shards and batches.
    pub(super) const fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// Sends several images in one request; returns the result of each, in order.
    pub(super) async fn send_batch(
        &self,
        images: &[BatchEntry],
        body: Payload,
    ) -> Result<Vec<BatchOutcome>, RemoteError> {
        let in_flight = self.start_measurement(body.len() as u64);
        let answer = self.server.send_batch(images, body).await;
        self.measure(in_flight, &answer);
        answer
    }

    /// Reads one shard and sends it. The acknowledged range is reported before this returns, but
    /// after the permits were returned: other requests do not wait for our disk.
    pub(super) async fn send_shard(
        &self,
        image: Arc<ImageFile>,
        range: ByteRange,
        permit: RequestPermit,
        progress: Arc<dyn ProgressSink>,
    ) -> ShardResult {
        let outcome = self.put_shard(image, range, permit).await;
        if let Ok(UploadState::Receiving { .. }) = &outcome {
            run_blocking(move || progress.on_range_stored(range)).await;
        }
        ShardResult { range, outcome }
    }

    async fn put_shard(
        &self,
        image: Arc<ImageFile>,
        range: ByteRange,
        permit: RequestPermit,
    ) -> Result<UploadState, UploadError> {
        let bytes_permit = permit.reserve_bytes(range.len()).await;
        let (fingerprint, size) = (image.fingerprint(), image.size());
        let buffers = self.buffers.clone();
        // The permit travels with the bytes: if this future is dropped, both are dropped together
        // on the other thread.
        let (shard, _bytes_permit) = run_blocking(move || {
            image
                .read_shard(range, &buffers)
                .map(|shard| (shard, bytes_permit))
        })
        .await?;
        let in_flight = self.start_measurement(range.len());
        let answer = self
            .server
            .put_shard(fingerprint, size, range.start(), shard.digest, shard.bytes)
            .await;
        self.measure(in_flight, &answer);
        Ok(answer?)
    }

    fn start_measurement(&self, bytes: u64) -> InFlightShard {
        self.shard_size().start(self.started.elapsed(), bytes)
    }

    fn measure<Answer>(&self, in_flight: InFlightShard, answer: &Result<Answer, RemoteError>) {
        let now = self.started.elapsed();
        match answer {
            Ok(_) => self.shard_size().on_success(in_flight, now),
            Err(error) if smaller_might_succeed(error) => {
                self.shard_size().on_failure(in_flight, now);
            }
            Err(_) => {}
        }
    }

    fn shard_size(&self) -> MutexGuard<'_, AdaptiveShardSize> {
        self.shard_size.lock()
    }
}

/// Whether a smaller shard might have succeeded.
fn smaller_might_succeed(error: &RemoteError) -> bool {
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
        | RemoteError::CaFile { .. }
        | RemoteError::SystemRoots(_) => false,
    }
}
