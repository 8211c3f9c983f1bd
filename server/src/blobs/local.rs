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
    BlobError, Blobs, ByteStream, Freed, Seclusion, Section, Several, Standing, Stay, UploadKey,
};
use crate::config::DataDir;
use arrival::Arrival;
use shelf::Shelf;
use unfinished::Unfinished;

mod arrival;
mod incoming;
mod reading;
mod several;
mod shelf;
mod unfinished;

#[cfg(test)]
mod tests;

/// Images and uploads in a local directory.
#[derive(Clone, Debug)]
pub struct LocalBlobs {
    places: Arc<Places>,
}

/// Where things stand, and the disk they stand on.
#[derive(Debug)]
struct Places {
    disk: Arc<dyn Disk>,
    uploads: PathBuf,
    images: PathBuf,
    shelf: Shelf,
    unfinished: Unfinished,
}

impl LocalBlobs {
    /// Opens the directory and sweeps away what a crash left of images that were arriving.
    pub async fn open(data: &DataDir) -> Result<Self, BlobError> {
        Self::open_on(Arc::new(KernelDisk), data).await
    }

    async fn open_on(disk: Arc<dyn Disk>, data: &DataDir) -> Result<Self, BlobError> {
        let places = Places {
            uploads: data.uploads(),
            images: data.images(),
            shelf: Shelf::new(Arc::clone(&disk), data.images(), data.quarantine()),
            unfinished: Unfinished::new(Arc::clone(&disk), data.uploads()),
            disk,
        };
        let blobs = Self {
            places: Arc::new(places),
        };
        blobs
            .off_the_reactor(|places| incoming::sweep(&*places.disk, &places.uploads))
            .await?;
        Ok(blobs)
    }

    /// Runs file work where it may wait for the disk. It runs to its end even if nobody waits for
    /// it any more.
    async fn off_the_reactor<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Places>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let places = Arc::clone(&self.places);
        joined(spawn_blocking(move || work(&places)), &self.places.uploads).await
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
    ) -> Result<Stay, BlobError> {
        let mut arrival = Arrival::new(Arc::clone(&self.places));
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

    async fn store_several(&self, images: Vec<(Fingerprint, Bytes)>) -> Result<Several, BlobError> {
        self.off_the_reactor(move |places| several::store(places, images))
            .await
    }

    async fn write(&self, upload: UploadKey, offset: u64, bytes: Bytes) -> Result<(), BlobError> {
        self.off_the_reactor(move |places| places.unfinished.write(upload, offset, &bytes))
            .await
    }

    async fn seal(&self, upload: UploadKey, size: u64) -> Result<Stay, BlobError> {
        self.off_the_reactor(move |places| places.unfinished.seal(upload, size, &places.shelf))
            .await
    }

    async fn discard(&self, upload: UploadKey) -> Result<(), BlobError> {
        self.off_the_reactor(move |places| places.unfinished.discard(upload))
            .await
    }

    async fn uploads(&self) -> Result<Vec<UploadKey>, BlobError> {
        self.off_the_reactor(|places| places.unfinished.list())
            .await
    }

    async fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError> {
        self.off_the_reactor(move |places| places.shelf.size(fingerprint))
            .await
    }

    async fn read(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<ByteStream<'static>, BlobError> {
        let file = self
            .off_the_reactor(move |places| places.shelf.open(fingerprint, range))
            .await?;
        Ok(reading::stream(file, range))
    }

    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        self.off_the_reactor(move |places| places.shelf.quarantine(fingerprint))
            .await
    }

    async fn standing(&self, section: Section) -> Result<Vec<Standing>, BlobError> {
        self.off_the_reactor(move |places| places.shelf.standing(section))
            .await
    }

    async fn seclude(&self, section: Section) -> Result<Option<Seclusion>, BlobError> {
        self.off_the_reactor(move |places| places.shelf.seclude(section))
            .await
    }

    async fn remove(&self, alone: Seclusion, images: Vec<Fingerprint>) -> Result<Freed, BlobError> {
        let (done, removed) = oneshot::channel();
        let places = Arc::clone(&self.places);
        // The seclusion moves along: it must not end before the work does, whoever stops waiting
        // for it.
        let work = move || drop(done.send(places.shelf.remove(alone, &images)));
        // A thread of its own: all of those that do file work may be waiting for this very
        // seclusion to end.
        let begun = thread::Builder::new()
            .name("clearing".to_owned())
            .spawn(work);
        begun.map_err(BlobError::io(
            "begin to remove images from",
            &self.places.images,
        ))?;
        let stopped = |stopped| {
            Err(BlobError::io("remove images from", &self.places.images)(
                io::Error::other(stopped),
            ))
        };
        removed.await.unwrap_or_else(stopped)
    }
}
