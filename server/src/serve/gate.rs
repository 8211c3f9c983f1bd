//! The gate: every head of HTTP/1 is looked at before hyper sees it.
//!
//! Two reasons. hyper takes `Content-Length` together with `Transfer-Encoding` and hides one of
//! them; behind a proxy that chose the other, the rest of the body would be read as a request (RFC
//! 9112 section 11.2). And what hyper refuses by itself it refuses without a body, where our
//! clients are promised a problem they can read.
//!
//! A head that passes is handed on as it came. For one that does not, hyper is given a harmless
//! request in its place, and the service is told to answer it with the refusal and close. The rest
//! of the connection is thrown away. Bodies go through untouched; HTTP/2 goes through as a whole.

mod head;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use heirloom_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use head::{Fault, HEAD_BYTES_MAX};

pub(super) use head::FIELDS_MAX;
#[cfg(any(test, fuzzing))]
pub use head::trial;

/// How long a reader may take nothing before its connection is closed.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// How HTTP/2 begins (RFC 9113 section 3.4), as far as it looks like a head.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// What hyper reads instead of a head that is refused.
const IN_ITS_PLACE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What was found about each head, in the order that hyper will see them.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    heads: Arc<Mutex<VecDeque<Result<(), Fault>>>>,
}

/// A connection, read through the gate.
pub(super) struct Gate<S> {
    stream: S,
    reading: Reading,
    /// Collected of a head that is not whole yet.
    collected: BytesMut,
    /// How much of it was searched for the end of the head.
    looked_at: usize,
    /// Let through, and not yet taken by hyper.
    passed: BytesMut,
    findings: Findings,
    stall_max: Duration,
    /// Rings when the reader has taken nothing for that long.
    stall: Pin<Box<Sleep>>,
    stalled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The first head: it may turn out to be HTTP/2.
    FirstHead,
    Head,
    /// This many more bytes belong to a body.
    Body(u64),
    /// Nothing is looked at any more: HTTP/2.
    Everything,
    /// Nothing is let through any more.
    Nothing,
}

impl Findings {
    /// Why the request that hyper shows now must be refused, if it must. To be asked once for each.
    pub(super) fn fault(&self) -> Option<(ErrorCode, &'static str)> {
        let fault = self.heads().pop_front()?.err()?;
        Some((fault.code, fault.detail))
    }

    fn heads(&self) -> MutexGuard<'_, VecDeque<Result<(), Fault>>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Gate<S> {
    pub(super) fn new(stream: S, findings: Findings) -> Self {
        Self {
            stream,
            reading: Reading::FirstHead,
            collected: BytesMut::new(),
            looked_at: 0,
            passed: BytesMut::new(),
            findings,
            stall_max: WRITE_STALL_MAX,
            stall: Box::pin(sleep(WRITE_STALL_MAX)),
            stalled: false,
        }
    }

    /// Looks at what was collected, and lets through what may pass.
    fn look(&mut self) {
        while !self.collected.is_empty() {
            match self.reading {
                Reading::FirstHead | Reading::Head => {
                    match head::end(&self.collected, self.looked_at) {
                        Some(end) => self.look_at_head(end),
                        None if self.collected.len() > HEAD_BYTES_MAX => {
                            self.refuse(Fault::TOO_LARGE);
                        }
                        None => {
                            self.looked_at = self.collected.len();
                            return;
                        }
                    }
                }
                Reading::Body(left) => {
                    let here = self
                        .collected
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.passed.unsplit(self.collected.split_to(here));
                    self.reading = after(left - here as u64);
                }
                Reading::Everything => self.passed.unsplit(self.collected.split()),
                Reading::Nothing => self.collected.clear(),
            }
        }
    }

    fn look_at_head(&mut self, end: usize) {
        self.looked_at = 0;
        let head = &self.collected[..end];
        if self.reading == Reading::FirstHead && head == HTTP2_PREFACE {
            self.reading = Reading::Everything;
            return;
        }
        match head::judge(head) {
            Ok(body_bytes) => {
                self.findings.heads().push_back(Ok(()));
                self.passed.unsplit(self.collected.split_to(end));
                self.reading = after(body_bytes);
            }
            Err(fault) => self.refuse(fault),
        }
    }

    fn refuse(&mut self, fault: Fault) {
        tracing::debug!(detail = fault.detail, "a head was refused");
        self.findings.heads().push_back(Err(fault));
        self.passed.extend_from_slice(IN_ITS_PLACE);
        self.collected.clear();
        self.reading = Reading::Nothing;
    }

    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let here = self.passed.len().min(buffer.remaining());
        buffer.put_slice(&self.passed[..here]);
        self.passed.advance(here);
    }
}

const fn after(body_bytes: u64) -> Reading {
    if body_bytes == 0 {
        Reading::Head
    } else {
        Reading::Body(body_bytes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.passed.is_empty() || buffer.remaining() == 0 {
                this.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let read = (buffer.filled().len() - before) as u64;
            match this.reading {
                // Whoever was refused may have stopped sending; the answer still goes out before
                // the connection ends.
                Reading::Nothing if read == 0 => return Poll::Pending,
                Reading::Everything => return Poll::Ready(Ok(())),
                Reading::Body(left) if read <= left && read > 0 => {
                    this.reading = after(left - read);
                    return Poll::Ready(Ok(()));
                }
                Reading::FirstHead | Reading::Head | Reading::Body(_) if read == 0 => {
                    return Poll::Ready(Ok(()));
                }
                Reading::FirstHead | Reading::Head | Reading::Body(_) | Reading::Nothing => {
                    this.collected.extend_from_slice(&buffer.filled()[before..]);
                    buffer.set_filled(before);
                    this.look();
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Gate<S> {
    /// Holds a write to its time limit: `written` is what the socket said to it.
    fn timed<T>(
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
            "the reader took nothing for too long",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timed(context, shut)
    }
}

#[cfg(test)]
mod tests;
