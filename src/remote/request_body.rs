//! The body of a request, which records when the connection last took some of it.
//!
//! hyper polls a body for more as the socket accepts what it had. So while a body is not polled,
//! nothing moves on the connection; that distinguishes a dead connection from a slow one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::payload::Payload;

/// Bytes in one frame: small enough to see progress on a slow link, large enough to cost nothing.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// The bytes of a request that are still to be sent.
#[derive(Debug)]
pub(super) struct RequestBody {
    rest: Payload,
    progress: BodyProgress,
    /// How many bytes at the end are counted as they are sent.
    counted: u64,
    counter: Arc<AtomicU64>,
}

/// A view of how far a body was sent.
#[derive(Clone, Debug)]
pub(super) struct BodyProgress(Arc<Mutex<LastFrame>>);

/// When the connection last took bytes, and whether these were the last ones.
#[derive(Clone, Copy, Debug)]
struct LastFrame {
    at: Instant,
    is_final: bool,
}

impl RequestBody {
    /// A body of these bytes, and the view of its progress. The timeouts start now.
    pub(super) fn new(payload: Payload) -> (Self, BodyProgress) {
        let progress = BodyProgress(Arc::new(Mutex::new(LastFrame {
            at: Instant::now(),
            is_final: payload.is_empty(),
        })));
        let body = Self {
            rest: payload,
            progress: progress.clone(),
            counted: 0,
            counter: Arc::default(),
        };
        (body, progress)
    }

    /// The same body; its last `bytes` bytes are added to `counter` as the connection takes them.
    pub(super) fn count_last(self, bytes: u64, counter: &Arc<AtomicU64>) -> Self {
        Self {
            counted: bytes,
            counter: Arc::clone(counter),
            ..self
        }
    }

    fn left_to_count(&self) -> u64 {
        self.counted.min(self.rest.len() as u64)
    }
}

impl BodyProgress {
    fn record(&self, is_final: bool) {
        *self.0.lock() = LastFrame {
            at: Instant::now(),
            is_final,
        };
    }

    /// Returns when the connection took nothing for `stall_timeout`, or, once it has the whole
    /// body, when `response_timeout` has passed since then. Returns the timeout that expired.
    pub(super) async fn stalled(
        &self,
        stall_timeout: Duration,
        response_timeout: Duration,
    ) -> Duration {
        loop {
            let last = *self.0.lock();
            let timeout = if last.is_final {
                response_timeout
            } else {
                stall_timeout
            };
            let due = last.at + timeout;
            if Instant::now() >= due {
                return timeout;
            }
            sleep_until(due).await;
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let before = self.left_to_count();
        let Some(bytes) = self.rest.take(FRAME_BYTES_MAX) else {
            return Poll::Ready(None);
        };
        self.progress.record(self.rest.is_empty());
        self.counter
            .fetch_add(before - self.left_to_count(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
