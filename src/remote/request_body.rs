//! The body of a request, which knows when the connection last took some of it.
//!
//! hyper asks a body for more as the socket accepts what it had. So a body that is no longer asked
//! is a connection on which nothing moves, and that can be told apart from one that is merely slow.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::payload::Payload;

/// Bytes handed over at a time: small enough to see a slow link move, large enough to cost nothing.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes on their way out.
#[derive(Debug)]
pub(super) struct RequestBody {
    rest: Payload,
    flow: BodyProgress,
    /// The last so many bytes are counted as they go out.
    counted: u64,
    count: Arc<AtomicU64>,
}

/// When the connection last took bytes, and whether it has all of them.
#[derive(Clone, Debug)]
pub(super) struct BodyProgress(Arc<Mutex<Moved>>);

#[derive(Clone, Copy, Debug)]
struct Moved {
    last: Instant,
    whole: bool,
}

impl RequestBody {
    /// A body of these bytes, and the view on how it flows. The clock starts now.
    pub(super) fn new(payload: Payload) -> (Self, BodyProgress) {
        let flow = BodyProgress(Arc::new(Mutex::new(Moved {
            last: Instant::now(),
            whole: payload.is_empty(),
        })));
        (
            Self {
                rest: payload,
                flow: flow.clone(),
                counted: 0,
                count: Arc::default(),
            },
            flow,
        )
    }

    /// The same; its last `counted` bytes are added to `count` as the connection takes them.
    pub(super) fn counted_by(self, count: &Arc<AtomicU64>, counted: u64) -> Self {
        Self {
            counted,
            count: Arc::clone(count),
            ..self
        }
    }

    fn still_to_count(&self) -> u64 {
        self.counted.min(self.rest.len() as u64)
    }
}

impl BodyProgress {
    fn moved(&self) -> Moved {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, whole: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Moved {
            last: Instant::now(),
            whole,
        };
    }

    /// Returns when the body has not moved for `stall`, or, once it is out whole, when `answer` has
    /// passed since; tells which limit that was.
    pub(super) async fn stalled(&self, stall: Duration, answer: Duration) -> Duration {
        loop {
            let moved = self.moved();
            let limit = if moved.whole { answer } else { stall };
            let due = moved.last + limit;
            if Instant::now() >= due {
                return limit;
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
        let before = self.still_to_count();
        let Some(piece) = self.rest.take(PIECE_BYTES) else {
            return Poll::Ready(None);
        };
        self.flow.note(self.rest.is_empty());
        self.count
            .fetch_add(before - self.still_to_count(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
