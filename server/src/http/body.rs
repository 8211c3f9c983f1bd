//! Bodies that arrive in good time, or are cut.
//!
//! hyper waits for a body for ever. Here one that stalls, or trickles, ends with an error of kind
//! `TimedOut`; only time spent waiting for the sender counts, not time in which nobody read.
//!
//! And an answer given before the body was read must reach a sender that is still sending: closing
//! at once would reset the connection, and the sender would see the reset instead of the answer. So
//! what is left of a body is read and thrown away, up to a limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::EXPECT;
use bytes::Bytes;
use futures_util::StreamExt as _;
use heirloom_protocol::ShardSize;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How slow a sender may be.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long it may send nothing.
    idle: Duration,
    /// Over how long the rate is looked at, and what must arrive in that time.
    window: Duration,
    window_bytes: u64,
}

/// 1 KiB/s, slower than the slowest modem: less is no network but an attempt to hold us up.
const PATIENCE: Patience = Patience {
    idle: Duration::from_secs(30),
    window: Duration::from_mins(1),
    window_bytes: 60 << 10,
};

/// What is read and thrown away after an early answer: the largest shard.
const LEFTOVER_BYTES_MAX: u64 = ShardSize::MAX.bytes();

/// And for how long.
const LEFTOVER_TIME_MAX: Duration = Duration::from_secs(10);

/// A request's body under time limits.
pub(super) struct TimedBody {
    /// None when it has ended, or was cut.
    body: Option<Body>,
    patience: Patience,
    /// Rings when the sender has been silent for too long.
    alarm: Pin<Box<Sleep>>,
    /// Since when the sender keeps us waiting.
    waiting_since: Option<Instant>,
    /// Of the present window: time waited, bytes come.
    waited: Duration,
    come: u64,
    leftover: Leftover,
}

/// What becomes of a body that was not read to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leftover {
    /// The sender is sending it: thrown away.
    Read,
    /// The sender waits for `100 Continue` and has not heard it: asking for the body now would call
    /// it in.
    Unasked,
}

impl TimedBody {
    /// Puts a request's body under the limits.
    pub(super) fn around(request: Request) -> Request {
        let expects = request.headers().get(EXPECT).is_some();
        let leftover = if expects {
            Leftover::Unasked
        } else {
            Leftover::Read
        };
        request.map(|body| {
            if body.is_end_stream() {
                body
            } else {
                Body::new(Self::new(body, leftover, PATIENCE))
            }
        })
    }

    fn new(body: Body, leftover: Leftover, patience: Patience) -> Self {
        let alarm = Box::pin(sleep(patience.idle));
        Self {
            body: Some(body),
            patience,
            alarm,
            waiting_since: None,
            waited: Duration::ZERO,
            come: 0,
            leftover,
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, io::Error> {
        self.waited += self
            .waiting_since
            .take()
            .map(|since| since.elapsed())
            .unwrap_or_default();
        self.come += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.waited >= self.patience.window {
            if self.come < self.patience.window_bytes {
                return Err(self.cut("the body came too slowly"));
            }
            self.waited = Duration::ZERO;
            self.come = 0;
        }
        Ok(frame)
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            self.alarm.as_mut().reset(now + self.patience.idle);
        }
        self.alarm
            .as_mut()
            .poll(context)
            .map(|()| self.cut("the body stalled"))
    }

    fn cut(&mut self, why: &'static str) -> io::Error {
        self.body = None;
        io::Error::new(io::ErrorKind::TimedOut, why)
    }
}

impl hyper::body::Body for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        this.leftover = Leftover::Read;
        let Some(body) = this.body.as_mut() else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(this.take(frame).map_err(Into::into))),
            Poll::Ready(Some(Err(error))) => {
                this.body = None;
                Poll::Ready(Some(Err(arrival_error(error).into())))
            }
            Poll::Ready(None) => {
                this.body = None;
                Poll::Ready(None)
            }
            Poll::Pending => this.wait(context).map(|slow| Some(Err(slow.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map(hyper::body::Body::size_hint)
            .unwrap_or_default()
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if self.leftover == Leftover::Unasked {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(throw_away(body));
        }
    }
}

async fn throw_away(body: Body) {
    let mut pieces = body.into_data_stream();
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(piece)) = pieces.next().await {
            bytes += piece.len() as u64;
            if bytes > LEFTOVER_BYTES_MAX {
                break;
            }
        }
    };
    if timeout(LEFTOVER_TIME_MAX, reading).await.is_err() {
        tracing::debug!("a sender did not stop after its answer");
    }
}

/// Why a body did not arrive, in the type that the rooms below take.
pub(super) fn arrival_error(error: axum::Error) -> io::Error {
    match error.into_inner().downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::new(io::ErrorKind::UnexpectedEof, error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;

    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_millis(100),
        window: Duration::from_millis(200),
        window_bytes: 1000,
    };

    /// A body of pieces of `length`, one every `every`, that counts how many were asked for.
    fn pieces(count: usize, length: usize, every: Duration) -> (Body, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let pieces = stream::iter(0..count).then(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                sleep(every).await;
                Ok::<_, io::Error>(Bytes::from(vec![0; length]))
            }
        });
        (Body::from_stream(pieces), sent)
    }

    async fn read(body: Body) -> Result<usize, io::Error> {
        let mut pieces =
            Body::new(TimedBody::new(body, Leftover::Read, PATIENCE)).into_data_stream();
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            bytes += piece.map_err(arrival_error)?.len();
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_body_that_comes_slowly_enough_to_be_a_network_is_let_be() {
        assert_eq!(
            read(pieces(30, 1000, Duration::from_millis(10)).0)
                .await
                .unwrap(),
            30_000
        );
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_cut_although_it_never_stalls() {
        let slow = read(pieces(1000, 1, Duration::from_millis(10)).0)
            .await
            .unwrap_err();
        assert_eq!(
            (slow.kind(), slow.to_string()),
            (
                io::ErrorKind::TimedOut,
                "the body came too slowly".to_owned()
            )
        );
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_cut() {
        let stalled = read(pieces(2, 5000, Duration::from_mins(1)).0)
            .await
            .unwrap_err();
        assert_eq!(
            (stalled.kind(), stalled.to_string()),
            (io::ErrorKind::TimedOut, "the body stalled".to_owned())
        );
    }

    #[tokio::test]
    async fn what_nobody_read_is_thrown_away_unless_the_sender_still_waits() {
        for (leftover, expected) in [(Leftover::Read, 3), (Leftover::Unasked, 0)] {
            let (body, sent) = pieces(3, 10, Duration::ZERO);
            drop(TimedBody::new(body, leftover, PATIENCE));
            // The throwing away is a task of its own; with one thread it ends while we wait.
            sleep(Duration::from_millis(50)).await;
            assert_eq!(sent.load(Ordering::SeqCst), expected);
        }
    }
}
