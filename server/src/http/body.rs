//! Request bodies with time limits.
//!
//! hyper waits for a body without limit. Here a body that stalls, or arrives too slowly, ends with
//! an error of kind `TimedOut`. Only time spent waiting for the client counts, not time in which
//! the handler did not read.
//!
//! A response sent before the body was read must reach a client that is still sending. Closing at
//! once would reset the connection, and the client would see the reset instead of the response. The
//! rest of the body is therefore read and discarded, up to a limit.

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

/// The time limits of a body.
#[derive(Clone, Copy, Debug)]
struct BodyTimeouts {
    /// Maximum time without any bytes.
    idle: Duration,
    /// The period over which the rate is measured, and the bytes that must arrive in it.
    window: Duration,
    window_bytes: u64,
}

/// 1 KiB/s is slower than the slowest modem. A slower client is an attempt to block the server.
const TIMEOUTS: BodyTimeouts = BodyTimeouts {
    idle: Duration::from_secs(30),
    window: Duration::from_mins(1),
    window_bytes: 60 << 10,
};

/// Maximum number of bytes discarded after an early response: the largest shard.
const DRAIN_BYTES_MAX: u64 = ShardSize::MAX.bytes();

/// Maximum time spent on discarding them.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// A request body with time limits.
pub(super) struct TimedBody {
    /// `None` once the body has ended or was aborted.
    body: Option<Body>,
    timeouts: BodyTimeouts,
    /// Fires when the client has sent nothing for too long.
    idle_timer: Pin<Box<Sleep>>,
    /// Since when we have been waiting for the client.
    waiting_since: Option<Instant>,
    /// In the current window: time waited, bytes received.
    waited: Duration,
    received: u64,
    unread: UnreadBody,
}

/// What happens to a body that was not read to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnreadBody {
    /// The client is sending it: the rest is read and discarded.
    Drain,
    /// The client waits for `100 Continue`, which was not sent: reading now would make it send the
    /// body.
    NotRequested,
}

impl TimedBody {
    /// Replaces a request's body with one that has time limits.
    pub(super) fn wrap(request: Request) -> Request {
        let expects = request.headers().get(EXPECT).is_some();
        let unread = if expects {
            UnreadBody::NotRequested
        } else {
            UnreadBody::Drain
        };
        request.map(|body| {
            if body.is_end_stream() {
                body
            } else {
                Body::new(Self::new(body, unread, TIMEOUTS))
            }
        })
    }

    fn new(body: Body, unread: UnreadBody, timeouts: BodyTimeouts) -> Self {
        let idle_timer = Box::pin(sleep(timeouts.idle));
        Self {
            body: Some(body),
            timeouts,
            idle_timer,
            waiting_since: None,
            waited: Duration::ZERO,
            received: 0,
            unread,
        }
    }

    fn on_frame(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, io::Error> {
        self.waited += self
            .waiting_since
            .take()
            .map(|since| since.elapsed())
            .unwrap_or_default();
        self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.waited >= self.timeouts.window {
            if self.received < self.timeouts.window_bytes {
                return Err(self.abort("the request body arrived too slowly"));
            }
            self.waited = Duration::ZERO;
            self.received = 0;
        }
        Ok(frame)
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            self.idle_timer.as_mut().reset(now + self.timeouts.idle);
        }
        self.idle_timer
            .as_mut()
            .poll(context)
            .map(|()| self.abort("the request body stalled"))
    }

    fn abort(&mut self, why: &'static str) -> io::Error {
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
        this.unread = UnreadBody::Drain;
        let Some(body) = this.body.as_mut() else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                Poll::Ready(Some(this.on_frame(frame).map_err(Into::into)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.body = None;
                Poll::Ready(Some(Err(body_error(error).into())))
            }
            Poll::Ready(None) => {
                this.body = None;
                Poll::Ready(None)
            }
            Poll::Pending => this.poll_idle(context).map(|slow| Some(Err(slow.into()))),
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
        if self.unread == UnreadBody::NotRequested {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(drain(body));
        }
    }
}

async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes += chunk.len() as u64;
            if bytes > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    if timeout(DRAIN_TIME_MAX, reading).await.is_err() {
        tracing::debug!("a client kept sending after its response");
    }
}

/// Converts the error of a body that did not arrive into the type that lower layers use.
pub(super) fn body_error(error: axum::Error) -> io::Error {
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

    const TIMEOUTS: BodyTimeouts = BodyTimeouts {
        idle: Duration::from_millis(100),
        window: Duration::from_millis(200),
        window_bytes: 1000,
    };

    /// A body of `count` chunks of `length` bytes, one per `every`, and a counter of those
    /// requested.
    fn chunks(count: usize, length: usize, every: Duration) -> (Body, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let chunks = stream::iter(0..count).then(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                sleep(every).await;
                Ok::<_, io::Error>(Bytes::from(vec![0; length]))
            }
        });
        (Body::from_stream(chunks), sent)
    }

    async fn read(body: Body) -> Result<usize, io::Error> {
        let mut chunks =
            Body::new(TimedBody::new(body, UnreadBody::Drain, TIMEOUTS)).into_data_stream();
        let mut bytes = 0;
        while let Some(chunk) = chunks.next().await {
            bytes += chunk.map_err(body_error)?.len();
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_slow_but_steady_body_is_accepted() {
        assert_eq!(
            read(chunks(30, 1000, Duration::from_millis(10)).0)
                .await
                .unwrap(),
            30_000
        );
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_aborted_although_it_never_stalls() {
        let slow = read(chunks(1000, 1, Duration::from_millis(10)).0)
            .await
            .unwrap_err();
        assert_eq!(
            (slow.kind(), slow.to_string()),
            (
                io::ErrorKind::TimedOut,
                "the request body arrived too slowly".to_owned()
            )
        );
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_aborted() {
        let stalled = read(chunks(2, 5000, Duration::from_mins(1)).0)
            .await
            .unwrap_err();
        assert_eq!(
            (stalled.kind(), stalled.to_string()),
            (
                io::ErrorKind::TimedOut,
                "the request body stalled".to_owned()
            )
        );
    }

    #[tokio::test]
    async fn an_unread_body_is_drained_unless_the_client_waits_to_send_it() {
        for (unread, expected) in [(UnreadBody::Drain, 3), (UnreadBody::NotRequested, 0)] {
            let (body, sent) = chunks(3, 10, Duration::ZERO);
            drop(TimedBody::new(body, unread, TIMEOUTS));
            // Draining is a task of its own; on a single thread it finishes while we wait.
            sleep(Duration::from_millis(50)).await;
            assert_eq!(sent.load(Ordering::SeqCst), expected);
        }
    }
}
