//! The interface of this module to the others: fetching and evicting bytes, and their status.

use std::fs::File;
use std::io;
use std::sync::Arc;

use heirloom_protocol::LibraryPath;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::cache_limiter::CacheLimiter;
use super::cache_policy::CachePolicy;
use super::downloader::Downloader;
use super::error::EvictError;
use super::evictor::{EvictOutcome, EvictSelection, Evictor};
use super::file_fetch::set_placeholder_mtime;
use super::open_files::OpenFiles;
use super::open_guard::OpenGuard;
use super::options::FetchOptions;
use super::pin_fetcher::PinFetcher;
use crate::journal::{Amount, FileId, Journal, Stamp};
use crate::remote::Remote;
use crate::spool::{Spool, SpoolError};

/// Fetches bytes that are only on the server, and evicts bytes that the server holds. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    spool: Spool,
    journal: Arc<Journal>,
    pub(super) open_files: Arc<OpenFiles>,
    downloader: Arc<Downloader>,
    evictor: Arc<Evictor>,
    pins: Arc<PinFetcher>,
}

/// Counters for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// Files that are being fetched.
    pub fetching: usize,
    /// Bytes fetched since the start.
    pub fetched_bytes: u64,
    /// Pinned files that are not here yet, as far as they were found.
    pub pinned_missing: Amount,
    /// Files that could not be fetched, and why.
    pub errors: Vec<(FileId, String)>,
}

impl Fetcher {
    /// A fetcher that downloads on this runtime. No request is made before a file is read.
    pub fn start(
        runtime: &Handle,
        spool: Spool,
        journal: Arc<Journal>,
        remote: Remote,
        options: FetchOptions,
    ) -> Self {
        let open_files = Arc::new(OpenFiles::new(options));
        let downloader = Arc::new(Downloader::new(
            runtime.clone(),
            Arc::clone(&journal),
            remote.clone(),
            options,
        ));
        let evictor = Arc::new(Evictor::new(
            spool.clone(),
            Arc::clone(&journal),
            remote,
            Arc::clone(&open_files),
            options.head_bytes,
        ));
        let pins = Arc::new(PinFetcher::new(
            spool.clone(),
            Arc::clone(&journal),
            Arc::clone(&open_files),
            Arc::clone(&downloader),
        ));
        Self {
            spool,
            journal,
            open_files,
            downloader,
            evictor,
            pins,
        }
    }

    /// Registers an open of a regular file, for whatever access. Fetches nothing. Two system calls
    /// if no bytes are missing; waits only while this very file is being evicted.
    pub fn register_open(&self, id: FileId, file: &File) -> io::Result<OpenGuard> {
        OpenGuard::open(&self.open_files, &self.downloader, id, file)
    }

    /// Registers an open of a regular file that was just created.
    pub fn register_created(&self, id: FileId) -> OpenGuard {
        OpenGuard::open_created(&self.open_files, id)
    }

    /// The photo's size and modification time, while the file on the disk has others because its
    /// bytes are being fetched.
    pub fn stamp_during_fetch(&self, id: FileId) -> Option<Stamp> {
        self.open_files.fetch_of(id).map(|fetch| fetch.stamp())
    }

    /// Records the modification time that the owner has set, if the file is a placeholder.
    pub fn set_mtime(&self, id: FileId, file: &File, stamp: Stamp) -> io::Result<()> {
        match self.open_files.fetch_of(id) {
            Some(fetch) => fetch.set_mtime(stamp.mtime_ns),
            None => set_placeholder_mtime(file, stamp.mtime_ns),
        }
    }

    /// Why a file could not be fetched when it was last tried; nothing if it could.
    pub fn last_error(&self, id: FileId) -> Option<String> {
        self.downloader.errors.of(id)
    }

    /// Counters for `status`.
    pub fn status(&self) -> FetchStatus {
        FetchStatus {
            fetching: self.open_files.fetching(),
            fetched_bytes: self.downloader.fetched_bytes(),
            pinned_missing: self.pins.missing(),
            errors: self.downloader.errors.all(),
        }
    }

    /// Evicts the part of a selection that follows `after`, as far as the server confirms now that
    /// it holds exactly these bytes. Cancel safe: each file is evicted or not.
    pub async fn evict(
        &self,
        selection: EvictSelection,
        after: Option<FileId>,
    ) -> Result<EvictOutcome, EvictError> {
        self.evictor.evict(selection, after).await
    }

    /// Frees at least this many bytes on the disk without the network; whether it did. Blocks on
    /// the disk.
    pub fn free_space(&self, bytes: u64) -> bool {
        self.evictor.free_space(bytes)
    }

    /// Keeps the cache within these limits from now on. `backed_up` changes when a photo was backed
    /// up.
    pub fn enforce_cache_policy(&self, policy: CachePolicy, backed_up: watch::Receiver<u64>) {
        if policy == CachePolicy::default() {
            return;
        }
        let limiter = Arc::new(CacheLimiter::new(
            policy,
            self.spool.clone(),
            Arc::clone(&self.journal),
            Arc::clone(&self.evictor),
        ));
        self.spawn(limiter.run(backed_up, self.downloader.watch_completed()));
    }

    /// Fetches pinned files that are not here, from now on.
    pub fn start_fetching_pinned(&self) {
        self.pins.queue_search();
        self.spawn(Arc::clone(&self.pins).run());
    }

    /// Pins a file, or everything that is or will be in a folder, and fetches what is missing.
    /// Blocks.
    pub fn pin(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        self.pins.pin(path)
    }

    /// A placeholder was added because of another device's change; it is fetched if it is pinned.
    /// Blocks.
    pub fn placeholder_added(&self, id: FileId, path: &LibraryPath) {
        self.pins.placeholder_added(id, path);
    }

    /// Ends all fetching: readers that wait get an error, and the bytes that have arrived stay.
    pub fn stop(&self) {
        self.downloader.stop.cancel();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.downloader.stop.clone();
        self.downloader.runtime.spawn(async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }
}
