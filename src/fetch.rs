//! Bringing photos back: what is only on the server is fetched when somebody reads it, and only
//! then.
//!
//! The one place where a kernel request waits for the network. So each wait has a limit, and none
//! of them is on the threads that answer the kernel: a request that has to wait is handed over,
//! together with its answer, and others go on.
//!
//! A *fetch* (`fetch`) is one photo on its way back, piece by piece (`pieces`), into the
//! placeholder itself. What has come is noted on the file as soon as it is on the disk, so an
//! interrupted fetch goes on from there, after a restart too. When all is there its SHA-256 is
//! computed (`sealing`); only if that is the photo's fingerprint the file becomes an ordinary one.
//! The *desk* knows what is open: nobody reads from under a photo whose room is being given back
//! (`room`), which happens when somebody asks for it or when room is short (`freeing`, `keeping`).

mod interrupt;
mod open_files;
mod error;
mod file_fetch;
mod evictor;
mod fetch_wait;
mod cache_policy;
mod planner;
mod pin_fetcher;
mod file_evictor;
mod verify;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heirloom_protocol::ByteRange;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::background::run_blocking;
use crate::journal::{Amount, FileId, Journal, Stamp};
use crate::remote::Remote;
use crate::spool::Spool;

pub use cache_policy::{CachePolicy, ParseSizeOrPercentError, SizeOrPercent};
pub use error::FetchError;
pub use evictor::{EvictError, EvictOutcome, EvictSelection};
pub use file_evictor::KeepReason;
pub use interrupt::InterruptProbe;

use fetch_wait::Wanted;
use file_fetch::Fetch;
use open_files::{Desk, Presence};
use pin_fetcher::Pinned;

/// The first bytes of a photo, which file managers and `file` read to learn what it is: kept, and
/// fetched alone.
pub const HEAD_BYTES: u64 = 64 << 10;
/// How long a reader waits while nothing comes.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes in one request: large enough that a round trip of 50 ms does not count with several in
/// flight, small enough that a reader does not wait long for the one that holds its bytes.
const PIECE_BYTES: u64 = 1 << 20;
/// Pieces of one photo on their way at a time.
const PIECES_IN_FLIGHT: usize = 4;
/// Pieces of all photos on their way at a time: bounds the memory for them to 8 MiB.
const PIECES_IN_FLIGHT_IN_ALL: usize = 8;

/// How fetching is done.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// How long a reader waits while nothing comes.
    pub read_timeout: Duration,
    /// The first bytes of a photo, which are fetched without the rest.
    pub head_bytes: u64,
    /// Bytes in one request.
    pub piece_bytes: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            read_timeout: READ_TIMEOUT,
            head_bytes: HEAD_BYTES,
            piece_bytes: PIECE_BYTES,
        }
    }
}

/// The room, as its users hold it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    inside: Arc<Inside>,
}

/// What the room's parts share.
#[derive(Debug)]
struct Inside {
    runtime: Handle,
    spool: Spool,
    journal: Arc<Journal>,
    remote: Remote,
    manner: FetchOptions,
    desk: Arc<Desk>,
    pinned: Pinned,
    lanes: Semaphore,
    fetched_bytes: AtomicU64,
    /// Rings when a photo was fetched.
    fetched: watch::Sender<u64>,
    /// Held by whoever makes room: what it frees is counted once.
    making_room: Mutex<()>,
    stop: CancellationToken,
}

/// A file that is open: as long as this is held, its room is not given back.
#[derive(Debug)]
pub struct OpenGuard {
    presence: Presence,
    absent: Option<OpenPlaceholder>,
}

/// An open file of which bytes are missing, or were when it was opened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenPlaceholder {
    inside: Arc<Inside>,
    fetch: Arc<Fetch>,
}

/// What is going on, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// Photos being fetched.
    pub fetching: usize,
    /// Bytes fetched since the start.
    pub fetched_bytes: u64,
    /// What is pinned and was looked for, and is not here yet.
    pub pinned_missing: Amount,
    /// Photos that could not be fetched, and why.
    pub errors: Vec<(FileId, String)>,
}

impl Fetcher {
    /// Prepares to fetch; nothing is asked before somebody reads.
    pub fn start(
        runtime: &Handle,
        spool: Spool,
        journal: Arc<Journal>,
        remote: Remote,
        manner: FetchOptions,
    ) -> Self {
        let inside = Inside {
            runtime: runtime.clone(),
            spool,
            journal,
            remote,
            manner,
            desk: Arc::new(Desk::new(manner)),
            pinned: Pinned::default(),
            lanes: Semaphore::new(PIECES_IN_FLIGHT_IN_ALL),
            fetched_bytes: AtomicU64::new(0),
            fetched: watch::Sender::new(0),
            making_room: Mutex::default(),
            stop: CancellationToken::new(),
        };
        Self {
            inside: Arc::new(inside),
        }
    }

    /// A regular file was opened, whatever for. Costs two system calls where nothing is missing;
    /// waits only while the room of this very file is being given back. Fetches nothing.
    pub fn register_open(&self, id: FileId, file: &File) -> io::Result<OpenGuard> {
        let (presence, fetch) = self.inside.desk.open(id, file)?;
        let absent = fetch.map(|fetch| OpenPlaceholder {
            inside: Arc::clone(&self.inside),
            fetch,
        });
        if let Some(absent) = &absent {
            absent.fetch.reader_came();
            absent.inside.seal_if_all_is_here(&absent.fetch);
        }
        Ok(OpenGuard { presence, absent })
    }

    /// A regular file was made, and is open.
    pub fn register_created(&self, id: FileId) -> OpenGuard {
        OpenGuard {
            presence: self.inside.desk.made(id),
            absent: None,
        }
    }

    /// The size and time that a file has for its owner, if they are not what the disk says because
    /// it is being filled this moment.
    pub fn stamp_during_fetch(&self, id: FileId) -> Option<Stamp> {
        self.inside.desk.fetch_of(id).map(|fetch| fetch.stamp())
    }

    /// The owner has set another time. Of a placeholder, that is noted on the file.
    pub fn set_mtime(&self, id: FileId, file: &File, stamp: Stamp) -> io::Result<()> {
        match self.inside.desk.fetch_of(id) {
            Some(fetch) => fetch.retime(stamp.mtime_ns),
            None => file_fetch::retime(file, stamp.mtime_ns),
        }
    }

    /// Why a photo could not be fetched when it was last asked for, if it could not.
    pub fn last_error(&self, id: FileId) -> Option<String> {
        self.inside.desk.trouble(id)
    }

    /// What is going on.
    pub fn status(&self) -> FetchStatus {
        FetchStatus {
            fetching: self.inside.desk.fetching(),
            fetched_bytes: self.inside.fetched_bytes.load(Ordering::Relaxed),
            pinned_missing: self.inside.pinned.left(),
            errors: self.inside.desk.troubles(),
        }
    }

    /// Ends all fetching. Whoever waits is refused; what has come stays.
    pub fn stop(&self) {
        self.inside.stop.cancel();
    }
}

impl OpenGuard {
    /// What is missing of the file; nothing if it was an ordinary one when it was opened. Only such
    /// a one may be read past us.
    pub fn placeholder(&self) -> Option<&OpenPlaceholder> {
        self.absent.as_ref()
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.presence.id()
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if let Some(absent) = &self.absent {
            absent.fetch.reader_left();
        }
    }
}

impl OpenPlaceholder {
    /// Whether these bytes can be read from the file now.
    pub fn has(&self, offset: u64, length: u64) -> bool {
        ByteRange::at(offset, length).map_or(true, |range| self.fetch.holds(range))
    }

    /// Whether the file is an ordinary one by now.
    pub fn is_complete(&self) -> bool {
        self.fetch.is_whole()
    }

    /// Fetches these bytes if they are missing, then calls back, on a thread that may block. Calls
    /// back with an error after the limit, or when the asker is being killed.
    pub fn fetch(
        &self,
        offset: u64,
        length: u64,
        asker: InterruptProbe,
        then: impl FnOnce(Result<(), FetchError>) + Send + 'static,
    ) {
        let wanted = ByteRange::at(offset, length).map_or(Wanted::Nothing, Wanted::Bytes);
        self.wait_for(wanted, asker, then);
    }

    /// Fetches all that is missing, then calls back as [`Self::fetch`] does: the file is an
    /// ordinary one then.
    pub fn fetch_all(
        &self,
        asker: InterruptProbe,
        then: impl FnOnce(Result<(), FetchError>) + Send + 'static,
    ) {
        self.wait_for(Wanted::Whole, asker, then);
    }

    fn wait_for(
        &self,
        wanted: Wanted,
        asker: InterruptProbe,
        then: impl FnOnce(Result<(), FetchError>) + Send + 'static,
    ) {
        let (inside, fetch) = (Arc::clone(&self.inside), Arc::clone(&self.fetch));
        self.inside.runtime.spawn(async move {
            let held = inside.hold(&fetch, wanted, asker).await;
            run_blocking(move || then(held)).await;
        });
    }

    /// The owner does not want the content any more: the file is about to be emptied. It is an
    /// ordinary one when this returns, and nothing will be written into it.
    pub fn discard(&self) -> io::Result<()> {
        self.fetch.abandon()
    }
}

/// Locks, also after a panic: what these locks guard is whole between any two statements that
/// change it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
