//! An open file of which bytes are only on the server.

use std::io;
use std::sync::Arc;

use heirloom_protocol::ByteRange;

use super::downloader::Downloader;
use super::error::FetchError;
use super::fetch_wait::{Wanted, wait_for};
use super::file_fetch::FileFetch;
use super::interrupt::InterruptProbe;
use crate::background::run_blocking;

/// An open file of which bytes are missing here, or were when it was opened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenPlaceholder {
    downloader: Arc<Downloader>,
    fetch: Arc<FileFetch>,
}

impl OpenPlaceholder {
    pub(super) fn new(downloader: Arc<Downloader>, fetch: Arc<FileFetch>) -> Self {
        Self { downloader, fetch }
    }

    pub(super) fn file_fetch(&self) -> &Arc<FileFetch> {
        &self.fetch
    }

    /// Whether these bytes can be read from the file now.
    pub fn has(&self, offset: u64, length: u64) -> bool {
        ByteRange::at(offset, length).map_or(true, |range| self.fetch.has(range))
    }

    /// Whether the file is an ordinary one by now.
    pub fn is_complete(&self) -> bool {
        self.fetch.is_complete()
    }

    /// Fetches these bytes if they are missing, then calls `then` on a thread that may block.
    /// The result is an error after the read timeout, or when the waiting program is being killed.
    pub fn fetch(
        &self,
        offset: u64,
        length: u64,
        interrupt: InterruptProbe,
        then: impl FnOnce(Result<(), FetchError>) + Send + 'static,
    ) {
        let wanted = ByteRange::at(offset, length).map_or(Wanted::Nothing, Wanted::Bytes);
        self.wait_for(wanted, interrupt, then);
    }

    /// Fetches all missing bytes, then calls `then` as [`Self::fetch`] does: the file is an
    /// ordinary one if the result is `Ok`.
    pub fn fetch_all(
        &self,
        interrupt: InterruptProbe,
        then: impl FnOnce(Result<(), FetchError>) + Send + 'static,
    ) {
        self.wait_for(Wanted::WholeFile, interrupt, then);
    }

    fn wait_for(
        &self,
        wanted: Wanted,
        interrupt: InterruptProbe,
        then: impl FnOnce(Result<(), FetchError>) + Send + 'static,
    ) {
        let (downloader, fetch) = (Arc::clone(&self.downloader), Arc::clone(&self.fetch));
        self.downloader.runtime.spawn(async move {
            let outcome = wait_for(&downloader, &fetch, wanted, interrupt).await;
            run_blocking(move || then(outcome)).await;
        });
    }

    /// Gives up the bytes on the server, because the file is about to be truncated to nothing. When
    /// this returns, the file is an ordinary one, and no fetched byte will be written into it.
    pub fn discard(&self) -> io::Result<()> {
        self.fetch.discard()
    }
}
