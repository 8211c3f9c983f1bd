//! Writing an image that arrives whole and in order.

use std::sync::Arc;
use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;
use heirloom_protocol::{ByteRange, Fingerprint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::error::{BlobError, PartialBody};
use super::super::prefix_lock::SharedGuard;
use super::super::upload_key::UploadKey;
use super::blocking::join;
use super::directories::Directories;
use super::incoming_file::IncomingFile;

/// Bytes hashed and written at a time. While one chunk is being written the next one is collected,
/// so an upload holds at most twice this in memory, plus one network read.
pub(super) const CHUNK_BYTES: usize = 512 << 10;

/// Writes an arriving image to an [`IncomingFile`]: one chunk is being written while the next one
/// is collected.
pub(super) struct ImageWriter {
    dirs: Arc<Directories>,
    in_flight: Option<JoinHandle<Result<IncomingFile, BlobError>>>,
    collected: Vec<Bytes>,
    collected_bytes: usize,
    received: u64,
}

impl ImageWriter {
    /// A writer that has received nothing yet.
    pub(super) const fn new(dirs: Arc<Directories>) -> Self {
        Self {
            dirs,
            in_flight: None,
            collected: Vec::new(),
            collected_bytes: 0,
            received: 0,
        }
    }

    /// Accepts bytes; waits for the disk only if a whole chunk is collected before the previous one
    /// is written.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.received += bytes.len() as u64;
        self.collected_bytes += bytes.len();
        self.collected.push(bytes);
        if self.collected_bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.flush_then(Ok).await
    }

    /// Bytes received so far.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Stores the complete image if it has this fingerprint.
    pub(super) async fn finish(
        mut self,
        fingerprint: Fingerprint,
    ) -> Result<SharedGuard, BlobError> {
        let dirs = Arc::clone(&self.dirs);
        self.flush_then(move |incoming| incoming.finish(fingerprint, &dirs.image_dir))
            .await?;
        let finished = self
            .written()
            .await?
            .expect("the flush above put it in flight");
        Ok(finished.guard())
    }

    /// The error for a sender that disconnected, with what it sent.
    pub(super) fn into_sender_error(self, source: io::Error) -> BlobError {
        BlobError::Sender {
            source,
            partial: Box::new(self),
        }
    }

    /// Starts to write what is collected, and then runs `after` with the file.
    async fn flush_then(
        &mut self,
        after: impl FnOnce(IncomingFile) -> Result<IncomingFile, BlobError> + Send + 'static,
    ) -> Result<(), BlobError> {
        let incoming = self.written().await?;
        let pieces = std::mem::take(&mut self.collected);
        self.collected_bytes = 0;
        let dirs = Arc::clone(&self.dirs);
        self.in_flight = Some(spawn_blocking(move || {
            // Created here and not before: a small image costs one trip to the blocking threads.
            let mut incoming = match incoming {
                Some(incoming) => incoming,
                None => IncomingFile::create(Arc::clone(&dirs.disk), &dirs.uploads)?,
            };
            pieces.iter().try_for_each(|piece| incoming.append(piece))?;
            after(incoming)
        }));
        Ok(())
    }

    /// The file, once the writes in flight have reached it.
    async fn written(&mut self) -> Result<Option<IncomingFile>, BlobError> {
        match self.in_flight.take() {
            Some(in_flight) => join(in_flight, &self.dirs.uploads).await.map(Some),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl PartialBody for ImageWriter {
    fn byte_count(&self) -> u64 {
        self.received
    }

    async fn keep(mut self: Box<Self>, upload: UploadKey) -> Result<Option<ByteRange>, BlobError> {
        let Ok(received) = ByteRange::new(0, self.received) else {
            return Ok(None);
        };
        let dirs = Arc::clone(&self.dirs);
        self.flush_then(move |incoming| incoming.keep(upload, &dirs.partial_dir))
            .await?;
        let written = self.written().await?;
        Ok(written.filter(IncomingFile::is_kept).map(|_| received))
    }
}

/// Without the bytes.
impl fmt::Debug for ImageWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ImageWriter")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
