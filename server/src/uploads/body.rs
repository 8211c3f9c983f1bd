//! Request bodies in memory: the budget for them, and receiving one with limits on length and time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::UploadError;
use super::service::UploadService;
use crate::blobs::ByteStream;

/// How long a shard waits for a share of that memory before the sender is asked to retry.
const SHARD_MEMORY_WAIT: Duration = Duration::from_secs(30);

/// How long a shard may take to arrive once it has memory: two slow senders must not keep all
/// others out. A shard is meant to take about a second; a sender that exceeds this limit is told so
/// and makes its shards smaller.
const SHARD_TIME_MAX: Duration = Duration::from_mins(5);

impl UploadService {
    /// Reserves memory for a shard or a batch of `bytes` bytes.
    pub(super) async fn reserve_memory(
        &self,
        bytes: u64,
    ) -> Result<OwnedSemaphorePermit, UploadError> {
        let bytes = u32::try_from(bytes).expect("a shard is at most 16 MiB");
        let reserved = timeout(
            SHARD_MEMORY_WAIT,
            Arc::clone(&self.memory).acquire_many_owned(bytes),
        )
        .await;
        reserved
            .map_err(|_| UploadError::Overloaded)
            .map(|permit| permit.expect("the semaphore is never closed"))
    }
}

/// Receives all of a body of `announced` bytes. On an error `bytes` keeps what arrived before it.
pub(super) async fn receive(
    body: ByteStream<'static>,
    announced: u64,
    bytes: &mut BytesMut,
) -> Result<(), UploadError> {
    let received = timeout(SHARD_TIME_MAX, collect(body, announced, bytes)).await;
    received.unwrap_or_else(|_| Err(UploadError::Sender(too_slow())))
}

async fn collect(
    mut body: ByteStream<'static>,
    announced: u64,
    bytes: &mut BytesMut,
) -> Result<(), UploadError> {
    let length = usize::try_from(announced).expect("a shard is at most 16 MiB");
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(UploadError::Sender)?;
        if bytes.len() + piece.len() > length {
            let found = (bytes.len() + piece.len()) as u64;
            return Err(UploadError::Sender(wrong_length(announced, found)));
        }
        if bytes.is_empty() {
            bytes.reserve(length);
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() < length {
        let found = bytes.len() as u64;
        return Err(UploadError::Sender(wrong_length(announced, found)));
    }
    Ok(())
}

fn too_slow() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the shard is too large for the speed of the connection; send smaller shards",
    )
}

/// The error for a body of another length than it announced.
pub(super) fn wrong_length(expected: u64, found: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("received {found} of {expected} announced bytes"),
    )
}
