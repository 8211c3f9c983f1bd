//! Fetches pinned files without a reader.
//!
//! Pinned files are searched for at the start and when something is pinned; the mount reports the
//! placeholders that other devices add to a pinned folder. Where nothing was ever pinned, no file
//! is examined. While the server is away, the search is repeated with a growing delay.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, iter};
use heirloom_protocol::LibraryPath;
use heirloom_support::backoff::Backoff;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::downloader::Downloader;
use super::error::FetchError;
use super::fetch_wait::{Wanted, wait_for};
use super::interrupt::InterruptProbe;
use super::open_files::OpenFiles;
use super::open_guard::OpenGuard;
use crate::background::run_blocking;
use crate::journal::{Amount, FileId, FileState, Journal, JournalError};
use crate::spool::{Spool, SpoolError};

/// Files fetched at a time. Readers share the request slots with them and come in between.
const FILES_AT_A_TIME: usize = 2;
/// Records of the journal read at a time.
const PAGE: usize = 512;
/// Delay before new placeholders are fetched: they come in bursts, and the journal has to record
/// them first.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// New placeholders that are remembered one by one; with more, all files are searched.
const NEW_FILES_MAX: usize = 4096;

/// A pinned file to fetch.
type PinnedFile = (FileId, LibraryPath);

/// Fetches pinned files.
#[derive(Debug)]
pub(super) struct PinFetcher {
    spool: Spool,
    journal: Arc<Journal>,
    open_files: Arc<OpenFiles>,
    downloader: Arc<Downloader>,
    queue: Mutex<PinQueue>,
    /// Notified when the queue has changed.
    queued: Notify,
    missing: Mutex<Amount>,
}

/// Where pinned placeholders may be that were not fetched yet.
#[derive(Debug, Default)]
struct PinQueue {
    new_files: Vec<PinnedFile>,
    search: Search,
}

/// Whether all files have to be searched for pinned placeholders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Search {
    #[default]
    NotNeeded,
    AllFiles,
}

/// How an attempt to fetch pinned files ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Done,
    Retry,
}

impl PinFetcher {
    pub(super) fn new(
        spool: Spool,
        journal: Arc<Journal>,
        open_files: Arc<OpenFiles>,
        downloader: Arc<Downloader>,
    ) -> Self {
        Self {
            spool,
            journal,
            open_files,
            downloader,
            queue: Mutex::default(),
            queued: Notify::new(),
            missing: Mutex::default(),
        }
    }

    /// Pinned files that are not here yet, as far as they were found.
    pub(super) fn missing(&self) -> Amount {
        *self.missing.lock()
    }

    /// Searches all files for pinned placeholders, soon.
    pub(super) fn queue_search(&self) {
        self.queue.lock().search = Search::AllFiles;
        self.queued.notify_one();
    }

    /// Pins a file or a folder, and fetches what is missing. Blocks.
    pub(super) fn pin(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        self.spool.set_pin(path)?;
        self.queue_search();
        Ok(())
    }

    /// A new placeholder exists; it is fetched if it is pinned. Blocks.
    pub(super) fn placeholder_added(&self, id: FileId, path: &LibraryPath) {
        match self
            .spool
            .has_pins()
            .and_then(|any| Ok(any && self.spool.is_pinned(path)?))
        {
            Ok(true) => self.queue_file(id, path),
            Ok(false) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not read whether a new photo is pinned"
            ),
        }
    }

    fn queue_file(&self, id: FileId, path: &LibraryPath) {
        let mut queue = self.queue.lock();
        if queue.new_files.len() < NEW_FILES_MAX {
            queue.new_files.push((id, path.clone()));
        } else {
            queue.search = Search::AllFiles;
        }
        drop(queue);
        self.queued.notify_one();
    }

    /// Fetches what is queued. Cancel safe: the bytes that have arrived stay.
    pub(super) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        loop {
            self.queued.notified().await;
            sleep(BATCH_DELAY).await;
            let PinQueue { new_files, search } = std::mem::take(&mut *self.queue.lock());
            let fetched = self.fetch_files(new_files).await;
            let attempt = match search {
                Search::AllFiles => self
                    .search_and_fetch()
                    .await
                    .map(|found| found.and(fetched)),
                Search::NotNeeded => Ok(fetched),
            };
            match attempt {
                Ok(Attempt::Done) => backoff.succeeded(),
                other => {
                    if let Err(error) = other {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "could not search for pinned photos"
                        );
                    }
                    sleep(backoff.failed(None)).await;
                    self.queue_search();
                }
            }
        }
    }

    /// Fetches all pinned placeholders. Counts them first, so that `status` can show how much is
    /// missing.
    async fn search_and_fetch(self: &Arc<Self>) -> Result<Attempt, JournalError> {
        let (mut missing, mut after) = (Amount::default(), None);
        while let Some((last, files)) = self.pinned_page(after).await? {
            after = Some(last);
            missing.files += files.len() as u64;
            missing.bytes += files.iter().map(|(_, size)| size).sum::<u64>();
            *self.missing.lock() = missing;
        }
        *self.missing.lock() = missing;
        let (mut attempt, mut after) = (Attempt::Done, None);
        while missing.files > 0
            && let Some((last, files)) = self.pinned_page(after).await?
        {
            after = Some(last);
            let files = files.into_iter().map(|(file, _)| file).collect();
            attempt = self.fetch_files(files).await.and(attempt);
        }
        Ok(attempt)
    }

    /// The pinned placeholders among the files of the journal that follow `after`, with their
    /// sizes, and where the next page begins; nothing at the end.
    async fn pinned_page(
        self: &Arc<Self>,
        after: Option<FileId>,
    ) -> Result<Option<(FileId, Vec<(PinnedFile, u64)>)>, JournalError> {
        let fetcher = Arc::clone(self);
        run_blocking(move || {
            if !fetcher.spool.has_pins().unwrap_or(true) {
                return Ok(None);
            }
            let page = fetcher.journal.files_after(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(None);
            };
            let last = *last;
            let placeholders = page
                .into_iter()
                .filter(|(_, record)| matches!(record.state, FileState::Placeholder { .. }));
            // A file that cannot be examined is reported when it is read.
            let pinned = placeholders
                .filter(|(_, record)| fetcher.spool.is_pinned(&record.path).unwrap_or(false));
            let with_size = pinned.map(|(id, record)| ((id, record.path), record.stamp.size));
            Ok(Some((last, with_size.collect())))
        })
        .await
    }

    async fn fetch_files(self: &Arc<Self>, files: Vec<PinnedFile>) -> Attempt {
        let mut attempts = iter(files)
            .map(|file| self.fetch_file(file))
            .buffer_unordered(FILES_AT_A_TIME);
        let mut outcome = Attempt::Done;
        while let Some(attempt) = attempts.next().await {
            outcome = attempt.and(outcome);
        }
        outcome
    }

    /// Fetches one file. `wait_for` reports a failure in the log and in `status`.
    async fn fetch_file(self: &Arc<Self>, (id, path): PinnedFile) -> Attempt {
        let fetcher = Arc::clone(self);
        let guard = match run_blocking(move || fetcher.open(id, &path)).await {
            Ok(Some(guard)) => guard,
            Ok(None) => return Attempt::Retry,
            // Renamed or removed meanwhile. The next search finds it under its new name.
            Err(error) if error.is_missing() => return Attempt::Done,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not open a pinned photo to fetch it"
                );
                return Attempt::Retry;
            }
        };
        let Some(placeholder) = guard.placeholder() else {
            return Attempt::Done;
        };
        let (fetch, interrupt) = (placeholder.file_fetch(), InterruptProbe::NONE);
        let size = fetch.stamp().size;
        match wait_for(&self.downloader, fetch, Wanted::WholeFile, interrupt).await {
            Ok(()) => {
                self.subtract_missing(size);
                Attempt::Done
            }
            Err(error) => Attempt::after(&error),
        }
    }

    /// Opens a file; nothing if the journal has no record of it yet: a file that is fetched before
    /// it is recorded would be recorded as a placeholder afterwards.
    fn open(&self, id: FileId, path: &LibraryPath) -> Result<Option<OpenGuard>, SpoolError> {
        if !self.journal.file(id).is_ok_and(|record| record.is_some()) {
            return Ok(None);
        }
        let file = self.spool.open_read(path)?;
        OpenGuard::open(&self.open_files, &self.downloader, id, &file)
            .map(Some)
            .map_err(|source| SpoolError::of("read", path, source))
    }

    fn subtract_missing(&self, bytes: u64) {
        let mut missing = self.missing.lock();
        missing.files = missing.files.saturating_sub(1);
        missing.bytes = missing.bytes.saturating_sub(bytes);
    }
}

impl Attempt {
    fn after(error: &FetchError) -> Self {
        if error.is_transient() {
            Self::Retry
        } else {
            Self::Done
        }
    }

    fn and(self, other: Self) -> Self {
        if self == Self::Retry { self } else { other }
    }
}
