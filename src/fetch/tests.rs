//! Fetching and eviction against a server that can fail in every way, on a real disk with a real
//! journal.

mod eviction;
mod failures;
mod fetching;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::*;
use crate::journal::{FileId, FileRecord, FileState, Journal, Stamp};
use crate::remote::Remote;
use crate::remote::fake::FakeServer;
use crate::spool::{Access, Durability, OpenOptions, Placeholder, Spool};

const TIME_NS: i64 = 1_600_000_000_000_000_007;
/// The read timeout of most tests.
const READ_TIMEOUT_SHORT: Duration = Duration::from_millis(600);
/// Whatever must happen has happened by then.
const DEADLINE: Duration = Duration::from_secs(20);

/// A device with placeholders, and its server.
struct Device {
    server: FakeServer,
    fetcher: Fetcher,
    spool: Spool,
    journal: Arc<Journal>,
    _home: tempfile::TempDir,
}

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

/// Bytes without a repeated block, and none of them zero.
fn photo(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    (0..length).map(|_| random.u8(1..)).collect()
}

impl Device {
    async fn new() -> Self {
        Self::with_read_timeout(READ_TIMEOUT_SHORT).await
    }

    async fn with_read_timeout(read_timeout: Duration) -> Self {
        let home = tempfile::tempdir().unwrap();
        let server = FakeServer::start().await;
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let journal = Arc::new(Journal::open(&home.path().join("journal.redb")).unwrap());
        let fetcher = fetcher(&server, &spool, &journal, read_timeout);
        Self {
            server,
            fetcher,
            spool,
            journal,
            _home: home,
        }
    }

    /// Starts the client again, as after a crash: only what is on the disk is left.
    fn restart(&mut self) {
        self.fetcher.stop();
        self.fetcher = fetcher(&self.server, &self.spool, &self.journal, READ_TIMEOUT_SHORT);
    }

    /// Adds a photo that only the server has.
    fn add_placeholder(&self, name: &str, content: &[u8]) -> FileId {
        let fingerprint = Fingerprint::of(content);
        self.server
            .state()
            .images
            .insert(fingerprint, content.to_vec());
        let stamp = Stamp {
            size: content.len() as u64,
            mtime_ns: TIME_NS,
        };
        let id = self
            .spool
            .create_placeholder(&path(name), &Placeholder::new(fingerprint, stamp))
            .unwrap();
        let record = FileRecord {
            path: path(name),
            stamp,
            state: FileState::Placeholder { fingerprint },
        };
        self.journal.record(vec![(id, record)]).unwrap();
        id
    }

    /// Adds a photo that both have.
    fn add_backed_up(&self, name: &str, content: &[u8]) -> FileId {
        let fingerprint = Fingerprint::of(content);
        self.server
            .state()
            .images
            .insert(fingerprint, content.to_vec());
        std::fs::write(self.spool.root().join(name), content).unwrap();
        let (id, stamp) = Spool::identify(&self.spool.open_read(&path(name)).unwrap()).unwrap();
        let record = FileRecord {
            path: path(name),
            stamp,
            state: FileState::BackedUp { fingerprint },
        };
        self.journal.record(vec![(id, record)]).unwrap();
        self.journal
            .add_receipts(vec![crate::remote::fake::receipt(content)])
            .unwrap();
        id
    }

    fn open(&self, name: &str) -> (OpenGuard, File) {
        let file = self.spool.open_file(&path(name), READING).unwrap();
        let id = Spool::identify(&file).unwrap().0;
        (self.fetcher.register_open(id, &file).unwrap(), file)
    }

    /// Reads as the mount does: fetches what is missing, then reads from the file.
    async fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, FetchError> {
        let (guard, file) = self.open(name);
        read(&guard, &file, offset, length).await
    }

    fn state(&self, id: FileId) -> FileState {
        self.journal.file(id).unwrap().unwrap().state
    }

    fn placeholder(&self, name: &str) -> Option<Placeholder> {
        self.spool.placeholder(&path(name)).unwrap()
    }

    /// Requests for ranges of images that the server has counted.
    fn range_requests(&self) -> usize {
        self.server.state().count("GET /v1/images/")
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + DEADLINE;
        while !done(self) {
            assert!(
                tokio::time::Instant::now() < end,
                "timed out waiting for {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const READING: OpenOptions = OpenOptions {
    access: Access::Read,
    durability: Durability::Lazy,
};

fn fetcher(
    server: &FakeServer,
    spool: &Spool,
    journal: &Arc<Journal>,
    read_timeout: Duration,
) -> Fetcher {
    let options = FetchOptions {
        read_timeout,
        ..FetchOptions::default()
    };
    let remote = Remote::new(&server.login()).unwrap();
    Fetcher::start(
        &Handle::current(),
        spool.clone(),
        Arc::clone(journal),
        remote,
        options,
    )
}

async fn read(
    guard: &OpenGuard,
    file: &File,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, FetchError> {
    if let Some(placeholder) = guard.placeholder() {
        let (sender, receiver) = oneshot::channel();
        placeholder.fetch(offset, length as u64, InterruptProbe::NONE, |outcome| {
            sender.send(outcome).unwrap();
        });
        receiver.await.unwrap()?;
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    Ok(bytes)
}

async fn whole(guard: &OpenGuard) -> Result<(), FetchError> {
    let (sender, receiver) = oneshot::channel();
    let placeholder = guard.placeholder().expect("it was a placeholder");
    placeholder.fetch_all(InterruptProbe::NONE, |outcome| {
        sender.send(outcome).unwrap();
    });
    receiver.await.unwrap()
}
