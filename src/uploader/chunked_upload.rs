//! A chunked upload: sends one image in shards until the server answers with a receipt.
//!
//! Several shards are in flight at a time. What the server has is the union of its answers: they
//! may overtake one another, so a shorter list is no loss. After a shard was interrupted, only the
//! server knows how much of it arrived, so it is asked for its interruption list before the next
//! shard is cut; likewise when nothing is missing and still no receipt came. That list replaces
//! everything that was assumed.
//!
//! An upload may be dropped at any point: what was acknowledged stays in both lists, what was in
//! flight is sent again later.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use heirloom_protocol::message::{Limits, Receipt, UploadState};
use heirloom_protocol::{ByteRange, ErrorCode, RangeSet};
use tokio::time::{Instant, sleep_until};

use super::image_file::ImageFile;
use super::limits::{
    COMPLETION_QUERIES_MAX, DIGEST_RETRIES_MAX, NETWORK_RETRIES_MAX, RESTARTS_MAX, SHARD_BYTES_MAX,
    SHARDS_PER_IMAGE_MAX, TOO_LARGE_RETRIES_MAX,
};
use super::transport::{ShardResult, Transport};
use super::types::{ProgressSink, ResumeSource, UploadError};
use crate::background::run_blocking;
use crate::remote::{Backoff, RemoteError};

/// One image being sent.
pub(super) struct ChunkedUpload<'a> {
    transport: &'a Transport,
    image: Arc<ImageFile>,
    limits: Limits,
    progress: Arc<dyn ProgressSink>,
    /// Ranges that the server said it has.
    held: RangeSet,
    /// Ranges that only our shard list has, until the server's first answer.
    assumed: RangeSet,
    in_flight: RangeSet,
    /// Whether the server may have more, or less, than `held`.
    must_query: bool,
    /// No shard starts before this.
    not_before: Option<Instant>,
    retries: RetryCounts,
}

/// Failures so far, by kind.
#[derive(Debug, Default)]
struct RetryCounts {
    network: u32,
    digest: u32,
    too_large: u32,
    restarts: u32,
    completion_queries: u32,
}

impl<'a> ChunkedUpload<'a> {
    pub(super) fn new(
        transport: &'a Transport,
        image: Arc<ImageFile>,
        limits: Limits,
        resume: ResumeSource,
        progress: Arc<dyn ProgressSink>,
    ) -> Self {
        let (held, assumed) = match resume {
            ResumeSource::Server(held) => (held, RangeSet::new()),
            ResumeSource::Journal(assumed) => (RangeSet::new(), assumed),
        };
        Self {
            transport,
            image,
            limits,
            progress,
            held,
            assumed,
            in_flight: RangeSet::new(),
            must_query: false,
            not_before: None,
            retries: RetryCounts::default(),
        }
    }

    /// Sends what is missing until the server answers with a receipt.
    ///
    /// May be dropped half-way: what was acknowledged need not be sent again.
    pub(super) async fn run(self) -> Result<Receipt, UploadError> {
        let image = Arc::clone(&self.image);
        match self.send_missing().await {
            // The disk or the network changed them; the bytes here tell which.
            Err(UploadError::Remote(error))
                if error.code() == Some(ErrorCode::FingerprintMismatch) =>
            {
                let is_intact = run_blocking(move || image.matches_fingerprint()).await?;
                Err(if is_intact {
                    error.into()
                } else {
                    UploadError::FingerprintMismatch
                })
            }
            result => result,
        }
    }

    async fn send_missing(mut self) -> Result<Receipt, UploadError> {
        let mut shards = FuturesUnordered::new();
        loop {
            let missing = self.missing();
            if self.not_before.is_none()
                && (self.must_query || (missing.is_empty() && shards.is_empty()))
            {
                match self.query_server().await? {
                    Some(receipt) => return Ok(receipt),
                    None => continue,
                }
            }
            let may_send = !missing.is_empty() && shards.len() < SHARDS_PER_IMAGE_MAX;
            let pause = self.not_before;
            tokio::select! {
                // Answers first: one may be the receipt, or show that less is missing.
                biased;
                Some(result) = shards.next(), if !shards.is_empty() => {
                    if let Some(receipt) = self.on_result(result)? {
                        return Ok(receipt);
                    }
                }
                () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {
                    self.not_before = None;
                }
                permit = self.transport.request_permit(self.image.size()),
                    if may_send && pause.is_none() =>
                {
                    let range = self.next_shard(&missing);
                    self.in_flight.insert(range);
                    let (image, progress) = (Arc::clone(&self.image), Arc::clone(&self.progress));
                    shards.push(self.transport.send_shard(image, range, permit, progress));
                }
            }
        }
    }

    /// What is neither on the server nor in flight.
    fn missing(&self) -> RangeSet {
        self.held
            .missing(self.image.size())
            .without(&self.assumed)
            .without(&self.in_flight)
    }

    /// The next shard: the first missing bytes, as many as the present shard size. A small
    /// remainder is included.
    fn next_shard(&self, missing: &RangeSet) -> ByteRange {
        let range = missing
            .iter()
            .next()
            .expect("a shard is only cut while something is missing");
        let most = SHARD_BYTES_MAX.min(self.limits.shard_bytes_max);
        // Not `clamp`: the limits come from the server, and may contradict themselves.
        let wanted = self
            .transport
            .shard_bytes()
            .max(self.limits.shard_bytes_min)
            .min(most);
        if self.retries.digest > 0 {
            // Not the whole image again. The digest of a part is computed from the bytes just read,
            // so that a network that damages them and a disk that changed them can be told apart.
            return range.first(wanted.min(self.image.size() / 2).max(1));
        }
        let with_remainder = wanted + wanted / 2;
        range.first(if range.len() <= with_remainder.min(most) {
            range.len()
        } else {
            wanted
        })
    }

    /// Takes in the result of a shard: the receipt, more to do, or the end of the upload.
    fn on_result(&mut self, result: ShardResult) -> Result<Option<Receipt>, UploadError> {
        self.in_flight.remove(result.range);
        match result.outcome {
            Ok(UploadState::Stored { receipt }) => return Ok(Some(receipt)),
            Ok(UploadState::Receiving { received, .. }) => {
                self.retries.network = 0;
                received.iter().for_each(|range| self.held.insert(range));
                // From now on the server's own list counts.
                self.assumed = RangeSet::new();
                self.progress.on_progress(self.held.byte_count());
            }
            Err(UploadError::Remote(error)) => self.recover(error)?,
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Prepares to go on after a failure, or gives up.
    fn recover(&mut self, error: RemoteError) -> Result<(), UploadError> {
        match error.code() {
            Some(ErrorCode::DigestMismatch) => {
                self.retries.digest += 1;
                if self.retries.digest > DIGEST_RETRIES_MAX {
                    return Err(error.into());
                }
            }
            Some(ErrorCode::FingerprintMismatch) => {
                self.retries.restarts += 1;
                if self.retries.restarts > RESTARTS_MAX {
                    return Err(error.into());
                }
                self.set_held(RangeSet::new());
            }
            Some(ErrorCode::BodyTooLarge) => {
                self.retries.too_large += 1;
                if self.retries.too_large > TOO_LARGE_RETRIES_MAX {
                    return Err(error.into());
                }
            }
            Some(ErrorCode::RequestTimeout | ErrorCode::Internal) => self.pause(error)?,
            _ if error.is_interruption() || error.is_corrupted_in_transit() => self.pause(error)?,
            Some(_) | None => return Err(error.into()),
        }
        Ok(())
    }

    /// Waits a moment before the next shard, or gives up after too many failures in a row. Shards
    /// that fail during the pause failed together with the first.
    fn pause(&mut self, error: RemoteError) -> Result<(), UploadError> {
        self.must_query = true;
        if self.not_before.is_some() {
            return Ok(());
        }
        self.retries.network += 1;
        if self.retries.network > NETWORK_RETRIES_MAX {
            return Err(error.into());
        }
        let jitter = 0.25 + fastrand::f64() / 4.0;
        let wait = Backoff::FIRST.mul_f64(f64::from(self.retries.network) * jitter);
        self.not_before = Some(Instant::now() + wait.max(Duration::from_millis(1)));
        Ok(())
    }

    /// Asks the server for its interruption list, which replaces what was assumed.
    async fn query_server(&mut self) -> Result<Option<Receipt>, UploadError> {
        if !self.must_query {
            self.count_completion_query()?;
        }
        let image = self.image.fingerprint();
        match self.transport.server().upload_state(image).await {
            Ok(Some(UploadState::Stored { receipt })) => return Ok(Some(receipt)),
            Ok(Some(UploadState::Receiving { received, .. })) => self.set_held(received),
            Ok(None) => self.set_held(RangeSet::new()),
            Err(error) => self.recover(error)?,
        }
        Ok(None)
    }

    /// Nothing is missing, as far as we know, and yet there is no receipt: the server is asked why,
    /// a few times only.
    fn count_completion_query(&mut self) -> Result<(), UploadError> {
        const DOING: &str = "complete an upload";
        self.retries.completion_queries += 1;
        if self.retries.completion_queries > COMPLETION_QUERIES_MAX {
            let why = "everything was acknowledged, and still there is no receipt".to_owned();
            return Err(RemoteError::Malformed { doing: DOING, why }.into());
        }
        Ok(())
    }

    /// Sets what the server has. If that is more than before, the network is not as bad as it
    /// seemed.
    fn set_held(&mut self, held: RangeSet) {
        if held.byte_count() > self.held.byte_count() {
            self.retries.network = 0;
        }
        self.held = held;
        self.assumed = RangeSet::new();
        self.must_query = false;
        self.progress.on_progress(self.held.byte_count());
    }
}
