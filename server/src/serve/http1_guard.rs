//! HTTP/1 guard: validates the head of every HTTP/1 request before hyper parses it.
//!
//! There are two reasons. hyper accepts `Content-Length` together with `Transfer-Encoding` and
//! hides one of them; behind a proxy that chose the other, the rest of the body would be read as a
//! request (request smuggling, RFC 9112 section 11.2). And the requests that hyper rejects by
//! itself get a response without a body, where our clients are promised a problem detail.
//!
//! A valid head is validated on unchanged. In place of an invalid one, hyper reads a harmless
//! substitute request, which the service answers with the error before it closes the connection;
//! the rest of the connection is discarded. Bodies pass unchanged, and so does HTTP/2 as a whole.

mod head;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use head::HEAD_BYTES_MAX;

#[cfg(any(test, fuzzing))]
pub use head::fuzz;
pub(super) use head::{FIELDS_MAX, HeadViolation};

/// Maximum time without progress of a write before the connection is closed.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// The beginning of the HTTP/2 preface that looks like a head (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// The request that hyper reads in place of an invalid head.
const SUBSTITUTE_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// The result of each validated head, in the order in which hyper reads them. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadResults {
    heads: Arc<Mutex<VecDeque<Result<(), HeadViolation>>>>,
}

/// A connection whose request heads are validated as they are read.
pub(super) struct Http1Guard<S> {
    stream: S,
    state: ReadState,
    /// Bytes read that are not validated yet.
    pending: BytesMut,
    /// How many of the pending bytes were searched for the end of the head.
    searched: usize,
    /// Validated bytes that hyper has not read yet.
    validated: BytesMut,
    results: HeadResults,
    stall_max: Duration,
    /// Fires when a write has made no progress for `stall_max`.
    stall: Pin<Box<Sleep>>,
    stalled: bool,
}

/// What the next bytes of the connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadState {
    /// The first head, or the preface of HTTP/2.
    FirstHead,
    /// A later head.
    Head,
    /// A body, of which this many bytes remain.
    Body(u64),
    /// HTTP/2, which passes unchanged.
    Http2,
    /// Bytes after an invalid head, which are discarded.
    Discard,
}

impl HeadResults {
    /// Removes the result of the request that hyper shows now, and returns the violation in its
    /// head, if any. Call it exactly once per request.
    pub(super) fn next_violation(&self) -> Option<HeadViolation> {
        self.heads.lock().pop_front()?.err()
    }

    fn push(&self, result: Result<(), HeadViolation>) {
        self.heads.lock().push_back(result);
    }
}

impl<S> Http1Guard<S> {
    /// Guards `stream`, and records the result of each head in `results`.
    pub(super) fn new(stream: S, results: HeadResults) -> Self {
        Self {
            stream,
            state: ReadState::FirstHead,
            pending: BytesMut::new(),
            searched: 0,
            validated: BytesMut::new(),
            results,
            stall_max: WRITE_STALL_MAX,
            stall: Box::pin(sleep(WRITE_STALL_MAX)),
            stalled: false,
        }
    }

    /// Validates the pending bytes as far as possible.
    fn validate(&mut self) {
        while !self.pending.is_empty() {
            match self.state {
                ReadState::FirstHead | ReadState::Head => {
                    match head::find_end(&self.pending, self.searched) {
                        Some(end) => self.validate_head(end),
                        None if self.pending.len() > HEAD_BYTES_MAX => {
                            self.reject(HeadViolation::TOO_LARGE);
                        }
                        None => {
                            self.searched = self.pending.len();
                            return;
                        }
                    }
                }
                ReadState::Body(left) => {
                    let here = self
                        .pending
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.validated.unsplit(self.pending.split_to(here));
                    self.state = state_before(left - here as u64);
                }
                ReadState::Http2 => self.validated.unsplit(self.pending.split()),
                ReadState::Discard => self.pending.clear(),
            }
        }
    }

    fn validate_head(&mut self, end: usize) {
        self.searched = 0;
        let head = &self.pending[..end];
        if self.state == ReadState::FirstHead && head == HTTP2_PREFACE {
            self.state = ReadState::Http2;
            return;
        }
        match head::body_length(head) {
            Ok(body_bytes) => {
                self.results.push(Ok(()));
                self.validated.unsplit(self.pending.split_to(end));
                self.state = state_before(body_bytes);
            }
            Err(violation) => self.reject(violation),
        }
    }

    fn reject(&mut self, violation: HeadViolation) {
        tracing::debug!(detail = violation.detail, "rejected a request head");
        self.results.push(Err(violation));
        self.validated.extend_from_slice(SUBSTITUTE_REQUEST);
        self.pending.clear();
        self.state = ReadState::Discard;
    }

    fn copy_validated(&mut self, buffer: &mut ReadBuf<'_>) {
        let here = self.validated.len().min(buffer.remaining());
        buffer.put_slice(&self.validated[..here]);
        self.validated.advance(here);
    }
}

/// The state after a head whose body has this many bytes left.
const fn state_before(body_bytes: u64) -> ReadState {
    if body_bytes == 0 {
        ReadState::Head
    } else {
        ReadState::Body(body_bytes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Http1Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.validated.is_empty() || buffer.remaining() == 0 {
                this.copy_validated(buffer);
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let read = (buffer.filled().len() - before) as u64;
            match this.state {
                // A client that was rejected may stop sending; the response must still go out
                // before the connection ends.
                ReadState::Discard if read == 0 => return Poll::Pending,
                ReadState::Http2 => return Poll::Ready(Ok(())),
                ReadState::Body(left) if read <= left && read > 0 => {
                    this.state = state_before(left - read);
                    return Poll::Ready(Ok(()));
                }
                ReadState::FirstHead | ReadState::Head | ReadState::Body(_) if read == 0 => {
                    return Poll::Ready(Ok(()));
                }
                ReadState::FirstHead
                | ReadState::Head
                | ReadState::Body(_)
                | ReadState::Discard => {
                    this.pending.extend_from_slice(&buffer.filled()[before..]);
                    buffer.set_filled(before);
                    this.validate();
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Http1Guard<S> {
    /// Applies the time limit to a write whose result from the socket is `written`.
    fn with_timeout<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !self.stalled {
            self.stalled = true;
            self.stall.as_mut().reset(Instant::now() + self.stall_max);
        }
        ready!(self.stall.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client read nothing for too long",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http1Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.with_timeout(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.with_timeout(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.with_timeout(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.with_timeout(context, shut)
    }
}

#[cfg(test)]
mod tests;
