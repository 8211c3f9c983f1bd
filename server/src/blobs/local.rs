//! Blobs in a local directory.
//!
//! ```text
//! images/ab/abcdef...      verified images, named by their fingerprint
//! uploads/<user>-<fp>      unfinished uploads: one sparse file each, shards at their offsets
//! uploads/incoming-<n>     images that arrive whole; leftovers of a crash are swept at the next start
//! quarantine/<fp>          images found damaged
//! ```
//!
//! All of it must be on one filesystem, because rename(2) is what turns an upload into an image:
//! nothing is copied. Whatever stands in `images` was hashed before it got there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use heirloom_protocol::{ByteRange, Fingerprint};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use super::disk::{Disk, KernelDisk};
use super::{
    BlobError, Blobs, ByteStream, ExclusiveGuard, Prefix, RemovedStats, SharedGuard, StoredBatch,
    StoredImage, UploadKey,
};
use crate::config::DataDir;
use image_dir::ImageDir;
use image_writer::ImageWriter;
use partial_dir::PartialDir;

mod image_writer;
mod incoming_file;
mod read_stream;
mod batch;
mod image_dir;
mod partial_dir;

#[cfg(test)]
mod tests;

/// Images and uploads in a local directory.
#[derive(Clone, Debug)]
pub struct LocalBlobs {
    dirs: Arc<Directories>,
}

/// Where things stand, and the disk they stand on.
#[derive(Debug)]
struct Directories {
    disk: Arc<dyn Disk>,
    uploads: PathBuf,
    images: PathBuf,
    image_dir: ImageDir,
    partial_dir: PartialDir,
}

impl LocalBlobs {
    /// Opens the directory and sweeps away what a crash left of images that were arriving.
    pub async fn open(data: &DataDir) -> Result<Self, BlobError> {
        Self::open_on(Arc::new(KernelDisk), data).await
    }

    async fn open_on(disk: Arc<dyn Disk>, data: &DataDir) -> Result<Self, BlobError> {
        let dirs = Directories {
            uploads: data.uploads(),
            images: data.images(),
            image_dir: ImageDir::new(Arc::clone(&disk), data.images(), data.quarantine()),
            partial_dir: PartialDir::new(Arc::clone(&disk), data.uploads()),
            disk,
        };
        let blobs = Self {
            dirs: Arc::new(dirs),
        };
        blobs
            .off_the_reactor(|dirs| incoming_file::sweep(&*dirs.disk, &dirs.uploads))
            .await?;
        Ok(blobs)
    }

    /// Runs file work where it may wait for the disk. It runs to its end even if nobody waits for
    /// it any more.
    async fn off_the_reactor<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Directories>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let dirs = Arc::clone(&self.dirs);
        joined(spawn_blocking(move || work(&dirs)), &self.dirs.uploads).await
    }
}

/// The result of file work. It can only be missing if the runtime is shutting down or the work
/// panicked.
async fn joined<T>(work: JoinHandle<Result<T, BlobError>>, path: &Path) -> Result<T, BlobError> {
    work.await.unwrap_or_else(|stopped| {
        Err(BlobError::io("finish work on", path)(io::Error::other(
            stopped,
        )))
    })
}

#[async_trait]
impl Blobs for LocalBlobs {
    async fn store(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        mut body: ByteStream<'_>,
    ) -> Result<SharedGuard, BlobError> {
        let mut arrival = ImageWriter::new(Arc::clone(&self.dirs));
        while let Some(bytes) = body.next().await {
            match bytes {
                Ok(bytes) => arrival.take(bytes).await?,
                Err(source) => return Err(arrival.broke_off(source)),
            }
            if arrival.arrived() > size {
                return Err(BlobError::WrongLength {
                    expected: size,
                    found: arrival.arrived(),
                });
            }
        }
        if arrival.arrived() < size {
            return Err(arrival.broke_off(io::ErrorKind::UnexpectedEof.into()));
        }
        arrival.settle(fingerprint).await
    }

    async fn store_batch(
        &self,
        images: Vec<(Fingerprint, Bytes)>,
    ) -> Result<StoredBatch, BlobError> {
        self.off_the_reactor(move |dirs| batch::store(dirs, images))
            .await
    }

    async fn write(&self, upload: UploadKey, offset: u64, bytes: Bytes) -> Result<(), BlobError> {
        self.off_the_reactor(move |dirs| dirs.partial_dir.write(upload, offset, &bytes))
            .await
    }

    async fn finish(&self, upload: UploadKey, size: u64) -> Result<SharedGuard, BlobError> {
        self.off_the_reactor(move |dirs| dirs.partial_dir.finish(upload, size, &dirs.image_dir))
            .await
    }

    async fn discard(&self, upload: UploadKey) -> Result<(), BlobError> {
        self.off_the_reactor(move |dirs| dirs.partial_dir.discard(upload))
            .await
    }

    async fn uploads(&self) -> Result<Vec<UploadKey>, BlobError> {
        self.off_the_reactor(|dirs| dirs.partial_dir.list()).await
    }

    async fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError> {
        self.off_the_reactor(move |dirs| dirs.image_dir.size(fingerprint))
            .await
    }

    async fn read(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<ByteStream<'static>, BlobError> {
        let file = self
            .off_the_reactor(move |dirs| dirs.image_dir.open(fingerprint, range))
            .await?;
        Ok(read_stream::stream(file, range))
    }

    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        self.off_the_reactor(move |dirs| dirs.image_dir.quarantine(fingerprint))
            .await
    }

    async fn list(&self, section: Prefix) -> Result<Vec<StoredImage>, BlobError> {
        self.off_the_reactor(move |dirs| dirs.image_dir.list(section))
            .await
    }

    async fn try_lock_exclusive(
        &self,
        section: Prefix,
    ) -> Result<Option<ExclusiveGuard>, BlobError> {
        self.off_the_reactor(move |dirs| dirs.image_dir.try_lock_exclusive(section))
            .await
    }

    async fn remove(
        &self,
        alone: ExclusiveGuard,
        images: Vec<Fingerprint>,
    ) -> Result<RemovedStats, BlobError> {
        let (done, removed) = oneshot::channel();
        let dirs = Arc::clone(&self.dirs);
        // The seclusion moves along: it must not end before the work does, whoever stops waiting
        // for it.
        let work = move || drop(done.send(dirs.image_dir.remove(alone, &images)));
        // A thread of its own: all of those that do file work may be waiting for this very
        // seclusion to end.
        let begun = thread::Builder::new()
            .name("clearing".to_owned())
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
