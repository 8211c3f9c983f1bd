//! One delivery: from an image, and what the server has of it, to a receipt (M5, M6, M7).
//!
//! Several shards are under way at a time. What has arrived is the server's word, added up over its
//! answers: they may overtake one another, so a shorter list is no loss. When a shard broke under
//! way, only the server knows how much of it arrived, so it is asked for its list before anything
//! more is cut; so it is when nothing is missing and still no receipt came. Its answer replaces
//! everything that was believed.
//!
//! A delivery may be dropped at any point: what was acknowledged stays in both lists, what was
//! under way is sent again one day.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use heirloom_protocol::message::{Limits, Receipt, UploadState};
use heirloom_protocol::{ByteRange, ErrorCode, RangeSet};
use tokio::time::{Instant, sleep_until};

use super::budget::SHARD_BYTES_MAX;
use super::image::{ImageError, ImageFile};
use super::transport::Transport;
use crate::remote::{Backoff, RemoteError};

/// Shards of one image under way at a time: the rest of the budget is for other images.
const SHARDS_AT_A_TIME: usize = 4;
/// Tries of shards in a row that the network swallowed, before the delivery is put off.
const TRIES_MAX: u32 = 3;
/// Tries of shards that did not arrive as they were sent; more are not the network's fault.
const DIGEST_TRIES_MAX: u32 = 3;
/// Shards too large for something on the way: from the largest size to the smallest it is 10
/// halvings.
const TOO_LARGE_MAX: u32 = 12;
/// Questions for the server's list in one delivery: it has everything, then it has not, then again.
const QUESTIONS_MAX: u32 = 3;

/// Where the shard list of a delivery is kept, and who looks at its progress.
pub trait ProgressSink: Send + Sync + 'static {
    /// The server has made this range durable. Called on a thread that may block; the delivery's
    /// own end waits for it.
    fn on_range_stored(&self, range: ByteRange);
    /// So many bytes of the image are on the server now. Must not block.
    fn on_progress(&self, received_bytes: u64);
}

/// What is believed to be on the server when a delivery begins.
#[derive(Clone, Debug)]
pub enum ResumeSource {
    /// The server said so.
    Server(RangeSet),
    /// Only our own list says so: good until the server's first answer.
    Journal(RangeSet),
}

/// Why a delivery ended without a receipt.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The file could not be read as the image that it was.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The server, or the way to it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Server and file do not agree on what the bytes are, again and again.
    #[error(
        "the bytes on the disk are not those that were fingerprinted; save the file again, or restore it"
    )]
    NotItsFingerprint,
}

/// A delivery under way.
pub(super) struct ChunkedUpload<'a> {
    transport: &'a Transport,
    image: Arc<ImageFile>,
    limits: Limits,
    witness: Arc<dyn ProgressSink>,
    /// The server's word.
    held: RangeSet,
    /// What our own list adds to it, until the server has spoken.
    noted: RangeSet,
    underway: RangeSet,
    /// Whether the server may have more, or less, than we know.
    unsure: bool,
    /// No shard starts before this moment.
    not_before: Option<Instant>,
    tries: Tries,
}

/// What went wrong so far.
#[derive(Debug, Default)]
struct Tries {
    network: u32,
    digest: u32,
    too_large: u32,
    from_the_start: u32,
    questions: u32,
}

/// A shard that came back from its way.
pub(super) struct ChunkResult {
    pub(super) range: ByteRange,
    pub(super) outcome: Result<UploadState, DeliveryError>,
}

impl<'a> ChunkedUpload<'a> {
    pub(super) fn new(
        transport: &'a Transport,
        image: Arc<ImageFile>,
        limits: Limits,
        believed: ResumeSource,
        witness: Arc<dyn ProgressSink>,
    ) -> Self {
        let (held, noted) = match believed {
            ResumeSource::Server(held) => (held, RangeSet::new()),
            ResumeSource::Journal(noted) => (RangeSet::new(), noted),
        };
        let (underway, tries) = (RangeSet::new(), Tries::default());
        Self {
            transport,
            image,
            limits,
            witness,
            held,
            noted,
            underway,
            unsure: false,
            not_before: None,
            tries,
        }
    }

    /// Sends what is missing until the server answers with a receipt.
    pub(super) async fn run(mut self) -> Result<Receipt, DeliveryError> {
        let mut flights = FuturesUnordered::new();
        loop {
            let rest = self.rest();
            if self.not_before.is_none() && (self.unsure || (rest.is_empty() && flights.is_empty()))
            {
                match self.ask().await? {
                    Some(receipt) => return Ok(receipt),
                    None => continue,
                }
            }
            let starting = !rest.is_empty() && flights.len() < SHARDS_AT_A_TIME;
            let pause = self.not_before;
            tokio::select! {
                // Landing first: it may be the receipt, or show that less is missing.
                biased;
                Some(landed) = flights.next(), if !flights.is_empty() => {
                    if let Some(receipt) = self.land(landed)? {
                        return Ok(receipt);
                    }
                }
                () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => self.not_before = None,
                turn = self.transport.turn(self.image.size()), if starting && pause.is_none() => {
                    let range = self.cut(&rest);
                    self.underway.insert(range);
                    flights.push(self.transport.send(Arc::clone(&self.image), range, turn, Arc::clone(&self.witness)));
                }
            }
        }
    }

    /// What is neither on the server nor on its way.
    fn rest(&self) -> RangeSet {
        self.held
            .missing(self.image.size())
            .without(&self.noted)
            .without(&self.underway)
    }

    /// The next shard: the first bytes that are missing, as many as the pace allows. A small
    /// remainder goes along.
    fn cut(&self, rest: &RangeSet) -> ByteRange {
        let range = rest
            .iter()
            .next()
            .expect("a shard is only cut while something is missing");
        let most = SHARD_BYTES_MAX.min(self.limits.shard_bytes_max);
        // Not `clamp`: the limits are the server's word, and may contradict themselves.
        let wanted = self
            .transport
            .shard_bytes()
            .max(self.limits.shard_bytes_min)
            .min(most);
        if self.tries.digest > 0 {
            // Never whole again: of a part the digest is made of the bytes just read, so that a
            // network which spoils them and a disk which changed them are told apart.
            return range.first(wanted.min(self.image.size() / 2).max(1));
        }
        let with_remainder = wanted + wanted / 2;
        range.first(if range.len() <= with_remainder.min(most) {
            range.len()
        } else {
            wanted
        })
    }

    /// What a shard's end means: the receipt, more to do, or the end of the delivery.
    fn land(&mut self, landed: ChunkResult) -> Result<Option<Receipt>, DeliveryError> {
        self.underway.remove(landed.range);
        match landed.outcome {
            Ok(UploadState::Stored { receipt }) => return Ok(Some(receipt)),
            Ok(UploadState::Receiving { received, .. }) => {
                self.tries.network = 0;
                received.iter().for_each(|range| self.held.insert(range));
                // From now on the server's own list counts.
                self.noted = RangeSet::new();
                self.witness.on_progress(self.held.byte_count());
            }
            Err(DeliveryError::Remote(error)) => self.overcome(error)?,
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Goes on after a shard failed, or gives up.
    fn overcome(&mut self, error: RemoteError) -> Result<(), DeliveryError> {
        match error.code() {
            Some(ErrorCode::DigestMismatch) => {
                self.tries.digest += 1;
                if self.tries.digest > DIGEST_TRIES_MAX {
                    return Err(error.into());
                }
            }
            Some(ErrorCode::FingerprintMismatch) => {
                self.tries.from_the_start += 1;
                if self.tries.from_the_start > 1 {
                    return Err(error.into());
                }
                self.believe(RangeSet::new());
            }
            Some(ErrorCode::BodyTooLarge) => {
                self.tries.too_large += 1;
                if self.tries.too_large > TOO_LARGE_MAX {
                    return Err(error.into());
                }
            }
            Some(ErrorCode::RequestTimeout | ErrorCode::Internal) => self.pause(error)?,
            _ if error.broke_under_way() || error.arrived_damaged() => self.pause(error)?,
            Some(_) | None => return Err(error.into()),
        }
        Ok(())
    }

    /// Lets the network breathe for a moment, unless that was tried often enough. What breaks while
    /// it does broke at the same time.
    fn pause(&mut self, error: RemoteError) -> Result<(), DeliveryError> {
        self.unsure = true;
        if self.not_before.is_some() {
            return Ok(());
        }
        self.tries.network += 1;
        if self.tries.network > TRIES_MAX {
            return Err(error.into());
        }
        let wait =
            Backoff::FIRST.mul_f64(f64::from(self.tries.network) * (0.25 + fastrand::f64() / 4.0));
        self.not_before = Some(Instant::now() + wait.max(Duration::from_millis(1)));
        Ok(())
    }

    /// Asks the server for its list, which replaces ours.
    async fn ask(&mut self) -> Result<Option<Receipt>, DeliveryError> {
        if !self.unsure {
            self.ask_why()?;
        }
        match self
            .transport
            .remote()
            .upload(self.image.fingerprint())
            .await
        {
            Ok(Some(UploadState::Stored { receipt })) => return Ok(Some(receipt)),
            Ok(Some(UploadState::Receiving { received, .. })) => self.believe(received),
            Ok(None) => self.believe(RangeSet::new()),
            Err(error) => self.overcome(error)?,
        }
        Ok(None)
    }

    /// Nothing is missing, as far as we know, and yet there is no receipt: that is asked about a
    /// few times only.
    fn ask_why(&mut self) -> Result<(), DeliveryError> {
        const DOING: &str = "complete an upload";
        self.tries.questions += 1;
        if self.tries.questions > QUESTIONS_MAX {
            let why = "everything was acknowledged, and still there is no receipt".to_owned();
            return Err(RemoteError::Malformed { doing: DOING, why }.into());
        }
        Ok(())
    }

    /// The server has this, and nothing else. If that is more than it had, the network is not as
    /// bad as it seemed.
    fn believe(&mut self, held: RangeSet) {
        if held.byte_count() > self.held.byte_count() {
            self.tries.network = 0;
        }
        self.held = held;
        self.noted = RangeSet::new();
        self.unsure = false;
        self.witness.on_progress(self.held.byte_count());
    }
}
