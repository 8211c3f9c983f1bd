//! An arrival: an image that comes whole and in order, on its way to the disk.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use heirloom_protocol::{ByteRange, Fingerprint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::{BlobError, PartialBody, SharedGuard, UploadKey};
use super::incoming_file::IncomingFile;
use super::{Directories, joined};

/// Bytes of an arriving image that are hashed and written at a time. While one such piece is on its
/// way to the disk the next one is collected, so that an upload under way holds at most twice this,
/// and one network read more.
pub(super) const PIECE_BYTES: usize = 512 << 10;

/// An image that arrives: what is on its way to the disk, and what is collected for the next trip.
pub(super) struct ImageWriter {
    dirs: Arc<Directories>,
    underway: Option<JoinHandle<Result<IncomingFile, BlobError>>>,
    collected: Vec<Bytes>,
    collected_bytes: usize,
    arrived: u64,
}

impl ImageWriter {
    /// Of which nothing has come.
    pub(super) const fn new(dirs: Arc<Directories>) -> Self {
        Self {
            dirs,
            underway: None,
            collected: Vec::new(),
            collected_bytes: 0,
            arrived: 0,
        }
    }

    /// Takes bytes; waits for the disk only if a whole piece is collected before the piece ahead of
    /// it is written.
    pub(super) async fn take(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.arrived += bytes.len() as u64;
        self.collected_bytes += bytes.len();
        self.collected.push(bytes);
        if self.collected_bytes < PIECE_BYTES {
            return Ok(());
        }
        self.send(Ok).await
    }

    /// Bytes that came so far.
    pub(super) const fn arrived(&self) -> u64 {
        self.arrived
    }

    /// It has come whole: becomes an image, if it is the one that was announced.
    pub(super) async fn settle(
        mut self,
        fingerprint: Fingerprint,
    ) -> Result<SharedGuard, BlobError> {
        let dirs = Arc::clone(&self.dirs);
        self.send(move |incoming| incoming.settle(fingerprint, &dirs.image_dir))
            .await?;
        let settled = self
            .landed()
            .await?
            .expect("it was sent to the disk just now");
        Ok(settled.guard())
    }

    /// Its sender broke off.
    pub(super) fn broke_off(self, source: io::Error) -> BlobError {
        BlobError::Sender {
            source,
            partial: Box::new(self),
        }
    }

    /// Sends what is collected to the disk, and then lets `after` have its turn with the file.
    async fn send(
        &mut self,
        after: impl FnOnce(IncomingFile) -> Result<IncomingFile, BlobError> + Send + 'static,
    ) -> Result<(), BlobError> {
        let incoming = self.landed().await?;
        let pieces = std::mem::take(&mut self.collected);
        self.collected_bytes = 0;
        let dirs = Arc::clone(&self.dirs);
        self.underway = Some(spawn_blocking(move || {
            // Made here and not before: a small image costs one trip to the blocking threads in
            // all.
            let mut incoming = match incoming {
                Some(incoming) => incoming,
                None => IncomingFile::create(Arc::clone(&dirs.disk), &dirs.uploads)?,
            };
            pieces.iter().try_for_each(|piece| incoming.append(piece))?;
            after(incoming)
        }));
        Ok(())
    }

    /// The file, once what is underway has reached it.
    async fn landed(&mut self) -> Result<Option<IncomingFile>, BlobError> {
        match self.underway.take() {
            Some(underway) => joined(underway, &self.dirs.uploads).await.map(Some),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl PartialBody for ImageWriter {
    fn byte_count(&self) -> u64 {
        self.arrived
    }

    async fn keep(mut self: Box<Self>, upload: UploadKey) -> Result<Option<ByteRange>, BlobError> {
        let Ok(came) = ByteRange::new(0, self.arrived) else {
            return Ok(None);
        };
        let dirs = Arc::clone(&self.dirs);
        self.send(move |incoming| incoming.keep(upload, &dirs.partial_dir))
            .await?;
        let landed = self.landed().await?;
        Ok(landed.filter(IncomingFile::is_kept).map(|_| came))
    }
}

/// Not the bytes.
impl fmt::Debug for ImageWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ImageWriter")
            .field("arrived", &self.arrived)
            .finish_non_exhaustive()
    }
}
