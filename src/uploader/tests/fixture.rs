//! A running uploader with its spool, journal and library, and a fake server.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::{Fingerprint, LibraryPath};
use tempfile::TempDir;

use crate::config::Login;
use crate::journal::{FileId, FileRecord, FileState, Journal};
use crate::library::Library;
use crate::remote::Remote;
use crate::remote::fake::FakeServer;
use crate::spool::Spool;
use crate::uploader::Uploader;

/// Longest wait for anything in a test.
const LIMIT: Duration = Duration::from_secs(30);

/// A running uploader with its spool and journal, connected to a fake server.
pub(super) struct Fixture {
    pub(super) server: FakeServer,
    pub(super) journal: Arc<Journal>,
    pub(super) spool: Spool,
    pub(super) library: Library,
    pub(super) uploader: Uploader,
    login: Login,
    _folder: TempDir,
}

/// Random content, different for each number.
pub(super) fn photo(number: u64, size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number);
    let mut content = vec![0; size];
    random.fill(&mut content);
    content
}

impl Fixture {
    /// A running uploader.
    pub(super) async fn new() -> Self {
        let server = FakeServer::start().await;
        let login = server.login();
        Self::build(server, login)
    }

    /// An idle uploader, with a server that accepts batches of up to 4 MiB.
    pub(super) async fn with_batches() -> Self {
        let server = FakeServer::start().await;
        server.state().limits.batch_bytes_max = 4 << 20;
        let login = server.login();
        Self::build(server, login).until_idle().await
    }

    /// An idle uploader: the server answers, and the queue is not read again before `wake`.
    pub(super) async fn idle() -> Self {
        Self::new().await.until_idle().await
    }

    /// Waits until the empty queue was read; the scheduler sleeps then until it is woken.
    async fn until_idle(self) -> Self {
        self.server.until(|state| state.count("/session") > 0).await;
        self.until(|fixture| {
            fixture.uploader.status().connection == crate::uploader::Connection::Online
        })
        .await;
        self
    }

    pub(super) fn with_login(server: FakeServer, login: Login) -> Self {
        Self::build(server, login)
    }

    fn build(server: FakeServer, login: Login) -> Self {
        let folder = TempDir::new().unwrap();
        let spool = Spool::open(&folder.path().join("spool")).unwrap();
        let journal = Arc::new(Journal::open(&folder.path().join("journal.redb")).unwrap());
        let (library, uploader) = client(&spool, &journal, &login);
        Self {
            server,
            journal,
            spool,
            library,
            uploader,
            login,
            _folder: folder,
        }
    }

    pub(super) async fn stop_client(&self) {
        self.uploader.stop().await;
        self.library.stop().await;
    }

    pub(super) fn start_client(&mut self) {
        (self.library, self.uploader) = client(&self.spool, &self.journal, &self.login);
    }

    pub(super) async fn stop(self) {
        self.stop_client().await;
    }

    /// Writes a file, fingerprints it and queues it, as intake does. Does not wake the uploader.
    pub(super) fn add_photo(&self, name: &str, content: &[u8]) -> FileId {
        self.write(name, content);
        self.enqueue(name, content)
    }

    /// Writes in place: the file is never shorter in between, so that only its times show the
    /// change.
    pub(super) fn write(&self, name: &str, content: &[u8]) {
        let path = self.spool.root().join(name);
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .unwrap();
        file.write_all(content).unwrap();
        file.set_len(content.len() as u64).unwrap();
    }

    pub(super) fn enqueue(&self, name: &str, content: &[u8]) -> FileId {
        let path = LibraryPath::new(name).unwrap();
        let (id, stamp) = Spool::identify(&self.spool.open_read(&path).unwrap()).unwrap();
        let state = FileState::Pending {
            fingerprint: Fingerprint::of(content),
        };
        self.journal
            .record(vec![(id, FileRecord { path, stamp, state })])
            .unwrap();
        id
    }

    pub(super) fn wake(&self) {
        self.uploader.wake();
    }

    pub(super) fn state(&self, name: &str) -> FileState {
        let file = self
            .spool
            .open_read(&LibraryPath::new(name).unwrap())
            .unwrap();
        let (id, _) = Spool::identify(&file).unwrap();
        self.journal.file(id).unwrap().unwrap().state
    }

    /// Waits until this many files are backed up.
    pub(super) async fn until_backed_up(&self, files: u64) {
        self.wake();
        let mut changes = self.uploader.watch();
        let backed_up = async {
            while self.journal.tally().backed_up.files < files {
                changes.changed().await.unwrap();
            }
        };
        let ended = tokio::time::timeout(LIMIT, backed_up).await;
        assert!(
            ended.is_ok(),
            "{:?}; {:?}",
            self.journal.tally(),
            self.uploader.status()
        );
    }

    /// Waits until the condition holds; it is evaluated after each change, and now and then.
    pub(super) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.uploader.watch();
        let waiting = async {
            while !condition(self) {
                // Progress is no change that can be watched.
                let poll = tokio::time::sleep(Duration::from_millis(5));
                tokio::select! {
                    changed = changes.changed() => changed.unwrap_or(()),
                    () = poll => {}
                }
            }
        };
        let ended = tokio::time::timeout(LIMIT, waiting).await;
        assert!(
            ended.is_ok(),
            "{:?}; {:?}",
            self.journal.tally(),
            self.uploader.status()
        );
    }
}

fn client(spool: &Spool, journal: &Arc<Journal>, login: &Login) -> (Library, Uploader) {
    let runtime = tokio::runtime::Handle::current();
    let remote = Remote::new(login).unwrap();
    let library = Library::start(&runtime, Arc::clone(journal), remote.clone());
    let uploader = Uploader::start(
        &runtime,
        spool.clone(),
        Arc::clone(journal),
        library.clone(),
        remote,
    );
    (library, uploader)
}
