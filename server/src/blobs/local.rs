//! Blob storage in a local directory.
//!
//! ```text
//! images/ab/abcdef...      verified images, named by their fingerprint uploads/<user>-<fp>
//! unfinished uploads: one sparse file each, shards at their offsets uploads/incoming-<n>
//! images that arrive whole; leftovers of a crash are removed at the next start quarantine/<fp>
//! corrupt images
//! ```
//!
//! All of it must be on one filesystem, because rename(2) is what turns an upload into an image:
//! nothing is copied. Everything in `images` was hashed before it got there.

use std::io;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use heirloom_protocol::{ByteRange, Fingerprint};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::blob_store::{BlobStore, ByteStream, RemovedStats, StoredBatch, StoredImage};
use super::disk::{Disk, KernelDisk};
use super::error::BlobError;
use super::prefix_lock::{ExclusiveGuard, Prefix, SharedGuard};
use super::upload_key::UploadKey;
use crate::config::DataDir;
use blocking::join;
use directories::Directories;
use image_writer::ImageWriter;

mod image_writer;
mod batch;
mod incoming_file;
mod read_stream;
mod directories;
mod removal;
mod partial_dir;
mod image_dir;
mod folder_lock;
mod file;
mod blocking;

#[cfg(test)]
mod tests;

/// Blob storage in a local directory. Clones share it.
#[derive(Clone, Debug)]
pub struct LocalBlobStore {
    dirs: Arc<Directories>,
}

impl LocalBlobStore {
    /// Opens the directory and removes what a crash left of images that were arriving.
    pub async fn open(data: &DataDir) -> Result<Self, BlobError> {
        Self::open_on(Arc::new(KernelDisk), data).await
    }

    async fn open_on(disk: Arc<dyn Disk>, data: &DataDir) -> Result<Self, BlobError> {
        let store = Self {
            dirs: Arc::new(Directories::new(disk, data)),
        };
        store
            .run_blocking(|dirs| incoming_file::remove_abandoned(&*dirs.disk, &dirs.uploads))
            .await?;
        Ok(store)
    }

    /// Runs file work on a blocking thread, to its end even if the caller stops waiting.
    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Directories>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let dirs = Arc::clone(&self.dirs);
        join(spawn_blocking(move || work(&dirs)), &self.dirs.uploads).await
    }
}

#[async_trait]
impl BlobStore for LocalBlobStore {
    async fn store(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        mut body: ByteStream<'_>,
    ) -> Result<SharedGuard, BlobError> {
        let mut writer = ImageWriter::new(Arc::clone(&self.dirs));
        while let Some(bytes) = body.next().await {
            match bytes {
                Ok(bytes) => writer.write(bytes).await?,
                Err(source) => return Err(writer.into_sender_error(source)),
            }
            if writer.received() > size {
                return Err(BlobError::WrongLength {
                    expected: size,
                    found: writer.received(),
                });
            }
        }
        if writer.received() < size {
            return Err(writer.into_sender_error(io::ErrorKind::UnexpectedEof.into()));
        }
        writer.finish(fingerprint).await
    }

    async fn store_batch(
        &self,
        images: Vec<(Fingerprint, Bytes)>,
    ) -> Result<StoredBatch, BlobError> {
        self.run_blocking(move |dirs| batch::store(dirs, images))
            .await
    }

    async fn write(&self, upload: UploadKey, offset: u64, bytes: Bytes) -> Result<(), BlobError> {
        self.run_blocking(move |dirs| dirs.partial_dir.write(upload, offset, &bytes))
            .await
    }

    async fn finish(&self, upload: UploadKey, size: u64) -> Result<SharedGuard, BlobError> {
        self.run_blocking(move |dirs| dirs.partial_dir.finish(upload, size, &dirs.image_dir))
            .await
    }

    async fn discard(&self, upload: UploadKey) -> Result<(), BlobError> {
        self.run_blocking(move |dirs| dirs.partial_dir.discard(upload))
            .await
    }

    async fn uploads(&self) -> Result<Vec<UploadKey>, BlobError> {
        self.run_blocking(|dirs| dirs.partial_dir.list()).await
    }

    async fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError> {
        self.run_blocking(move |dirs| dirs.image_dir.size(fingerprint))
            .await
    }

    async fn read(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<ByteStream<'static>, BlobError> {
        let file = self
            .run_blocking(move |dirs| dirs.image_dir.open(fingerprint, range))
            .await?;
        Ok(read_stream::stream(file, range))
    }

    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        self.run_blocking(move |dirs| dirs.image_dir.quarantine(fingerprint))
            .await
    }

    async fn list(&self, prefix: Prefix) -> Result<Vec<StoredImage>, BlobError> {
        self.run_blocking(move |dirs| dirs.image_dir.list(prefix))
            .await
    }

    async fn try_lock_exclusive(
        &self,
        prefix: Prefix,
    ) -> Result<Option<ExclusiveGuard>, BlobError> {
        self.run_blocking(move |dirs| dirs.image_dir.try_lock_exclusive(prefix))
            .await
    }

    async fn remove(
        &self,
        guard: ExclusiveGuard,
        images: Vec<Fingerprint>,
    ) -> Result<RemovedStats, BlobError> {
        let (done, removed) = oneshot::channel();
        let dirs = Arc::clone(&self.dirs);
        // The guard moves into the thread: it must not be released before the work ends, even if
        // the caller stops waiting.
        let work = move || drop(done.send(dirs.image_dir.remove(guard, &images)));
        // A thread of its own: all blocking threads may be waiting for this very guard.
        let begun = thread::Builder::new()
            .name("blob-removal".to_owned())
            .spawn(work);
        begun.map_err(BlobError::io(
            "begin to remove images from",
            &self.dirs.images,
        ))?;
        let stopped = |stopped| {
            Err(BlobError::io("remove images from", &self.dirs.images)(
                io::Error::other(stopped),
            ))
        };
        removed.await.unwrap_or_else(stopped)
    }
}
