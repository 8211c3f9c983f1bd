//! The room against a server that can fail in every way, on a real disk with a real journal.

mod failures;
mod fetching;
mod eviction;

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::{Fingerprint, LibraryPath};
use tokio::sync::oneshot;

use super::*;
use crate::journal::{FileRecord, FileState};
use crate::remote::fake::FakeServer;
use crate::spool::{Access, Durability, OpenOptions, Placeholder};

const TIME_NS: i64 = 1_600_000_000_000_000_007;
/// So long a reader waits in these tests while nothing comes.
const SHORT: Duration = Duration::from_millis(600);
/// What must happen happens within this.
const SURELY: Duration = Duration::from_secs(20);

/// A server, and a device with nothing but placeholders.
struct House {
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

impl House {
    async fn new() -> Self {
        Self::with_patience(SHORT).await
    }

    async fn with_patience(patience: Duration) -> Self {
        let home = tempfile::tempdir().unwrap();
        let server = FakeServer::start().await;
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let journal = Arc::new(Journal::open(&home.path().join("journal.redb")).unwrap());
        let fetcher = fetcher(&server, &spool, &journal, patience);
        Self {
            server,
            fetcher,
            spool,
            journal,
            _home: home,
        }
    }

    /// The client again, after a crash: nothing is left but what is on the disk.
    fn start_again(&mut self) {
        self.fetcher.stop();
        self.fetcher = fetcher(&self.server, &self.spool, &self.journal, SHORT);
    }

    /// A photo that the server has, and the device only in name.
    fn absent(&self, name: &str, content: &[u8]) -> FileId {
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

    /// A photo that both have.
    fn backed_up(&self, name: &str, content: &[u8]) -> FileId {
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

    /// Reads as the mount does: at once what is here, and what is not when it has come.
    async fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, FetchError> {
        let (opened, file) = self.open(name);
        read(&opened, &file, offset, length).await
    }

    fn state(&self, id: FileId) -> FileState {
        self.journal.file(id).unwrap().unwrap().state
    }

    fn placeholder(&self, name: &str) -> Option<Placeholder> {
        self.spool.placeholder(&path(name)).unwrap()
    }

    /// Bytes of images that the server was asked for, by its own count of requests for parts.
    fn parts_asked(&self) -> usize {
        self.server.state().count("GET /v1/images/")
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + SURELY;
        while !done(self) {
            assert!(
                tokio::time::Instant::now() < end,
                "waited in vain for {what}"
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
    patience: Duration,
) -> Fetcher {
    let manner = FetchOptions {
        read_timeout: patience,
        ..FetchOptions::default()
    };
    let remote = Remote::new(&server.login()).unwrap();
    Fetcher::start(
        &Handle::current(),
        spool.clone(),
        Arc::clone(journal),
        remote,
        manner,
    )
}

async fn read(
    opened: &OpenGuard,
    file: &File,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, FetchError> {
    if let Some(absent) = opened.placeholder() {
        let (tell, told) = oneshot::channel();
        absent.fetch(offset, length as u64, InterruptProbe::NONE, |outcome| {
            tell.send(outcome).unwrap();
        });
        told.await.unwrap()?;
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    Ok(bytes)
}

async fn whole(opened: &OpenGuard) -> Result<(), FetchError> {
    let (tell, told) = oneshot::channel();
    let absent = opened.placeholder().expect("it was a placeholder");
    absent.fetch_all(InterruptProbe::NONE, |outcome| tell.send(outcome).unwrap());
    told.await.unwrap()
}
