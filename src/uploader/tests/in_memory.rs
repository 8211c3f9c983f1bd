//! The uploader without sockets, database or real time: server, journal and library in memory, and
//! tokio's clock paused. Only the photos are files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use heirloom_protocol::message::{Receipt, Session};
use heirloom_protocol::{ByteRange, ErrorCode, Fingerprint, LibraryPath, RangeSet};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use super::fixture::photo;
use crate::journal::{FileId, FileRecord, FileState, FinishedUpload, JournalError, UploadOutcome};
use crate::library::LibraryError;
use crate::remote::UploadServer as _;
use crate::remote::fake::{Fault, InMemoryServer};
use crate::spool::Spool;
use crate::uploader::{UploadJournal, UploadLibrary, Uploader};

const PHOTOS: u64 = 30;

#[derive(Debug, Default)]
struct InMemoryJournal(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    /// In the order in which they were queued.
    files: BTreeMap<usize, (FileId, FileRecord)>,
    receipts: HashMap<Fingerprint, Receipt>,
    shards: HashMap<Fingerprint, RangeSet>,
}

impl InMemoryJournal {
    fn add(&self, id: FileId, record: FileRecord) {
        let files = &mut self.0.lock().files;
        let number = files.len();
        files.insert(number, (id, record));
    }

    fn backed_up(&self) -> usize {
        let is_backed_up = |(_, record): &&(FileId, FileRecord)| {
            matches!(record.state, FileState::BackedUp { .. })
        };
        self.0.lock().files.values().filter(is_backed_up).count()
    }
}

impl UploadJournal for InMemoryJournal {
    fn pending(
        &self,
        newest: usize,
        oldest: usize,
        except: &HashSet<FileId>,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        let records = self.0.lock();
        let pending: Vec<_> = records
            .files
            .values()
            .filter(|(id, record)| {
                matches!(record.state, FileState::Pending { .. }) && !except.contains(id)
            })
            .cloned()
            .collect();
        let (old, new) = pending.split_at(pending.len().saturating_sub(newest));
        let new = new.iter().rev();
        Ok(new.chain(old.iter().take(oldest)).cloned().collect())
    }

    fn receipt(&self, image: Fingerprint) -> Result<Option<Receipt>, JournalError> {
        Ok(self.0.lock().receipts.get(&image).copied())
    }

    fn shards(&self, image: Fingerprint) -> Result<RangeSet, JournalError> {
        let shards = self.0.lock().shards.get(&image).cloned();
        Ok(shards.unwrap_or_default())
    }

    fn add_shard(&self, image: Fingerprint, range: ByteRange) -> Result<(), JournalError> {
        self.0.lock().shards.entry(image).or_default().insert(range);
        Ok(())
    }

    fn replace_shards(&self, image: Fingerprint, received: &RangeSet) -> Result<(), JournalError> {
        self.0.lock().shards.insert(image, received.clone());
        Ok(())
    }

    fn finish_uploads(&self, uploads: Vec<FinishedUpload>) -> Result<Vec<bool>, JournalError> {
        let records = &mut *self.0.lock();
        let finish = |upload: FinishedUpload| {
            let UploadOutcome::BackedUp { receipt } = upload.outcome else {
                panic!("no photo of this test fails: {upload:?}")
            };
            let fingerprint = upload.fingerprint;
            records.receipts.insert(fingerprint, receipt);
            records.shards.remove(&fingerprint);
            let mut files = records.files.values_mut();
            let (_, record) = files.find(|(id, _)| *id == upload.id).unwrap();
            assert_eq!(record.stamp, upload.stamp);
            record.state = FileState::BackedUp { fingerprint };
            true
        };
        Ok(uploads.into_iter().map(finish).collect())
    }
}

#[derive(Debug)]
struct InMemoryLibrary {
    server: InMemoryServer,
    requeued: watch::Sender<u64>,
}

impl UploadLibrary for InMemoryLibrary {
    fn session(&self) -> BoxFuture<'_, Result<Session, LibraryError>> {
        async { Ok(self.server.session().await?) }.boxed()
    }

    fn wake(&self) {}

    fn requeued(&self) -> watch::Receiver<u64> {
        self.requeued.subscribe()
    }
}

/// Faults for the next requests, from a seed.
fn add_faults(server: &InMemoryServer, random: &mut fastrand::Rng) {
    let lines = ["PUT", "/parcels", "/check", "/session", "GET /v1/uploads/"];
    let faults = [
        Fault::Cut,
        Fault::CutAfter,
        Fault::Stall,
        Fault::Garbage("<html>hotel</html>"),
        Fault::Problem(ErrorCode::Internal, None),
        Fault::Problem(ErrorCode::Unavailable, Some(60)),
    ];
    for _ in 0..20 {
        let line = lines[random.usize(..lines.len())];
        let fault = faults[random.usize(..faults.len())].clone();
        server.state().faults.push_back((line, fault));
    }
}

async fn run(seed: u64) {
    fastrand::seed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = TempDir::new().unwrap();
    let spool = Spool::open(&folder.path().join("spool")).unwrap();
    let journal = Arc::new(InMemoryJournal::default());
    let mut contents = HashMap::new();
    for number in 0..PHOTOS {
        let content = photo(seed * PHOTOS + number, random.usize(1..2_000_000));
        let path = LibraryPath::new(format!("{number}.jpg")).unwrap();
        std::fs::write(spool.root().join(format!("{number}.jpg")), &content).unwrap();
        let (id, stamp) = Spool::identify(&spool.open_read(&path).unwrap()).unwrap();
        let fingerprint = Fingerprint::of(&content);
        let state = FileState::Pending { fingerprint };
        journal.add(id, FileRecord { path, stamp, state });
        contents.insert(fingerprint, content);
    }
    let server = InMemoryServer::new();
    server.state().limits.batch_bytes_max = 4 << 20;
    server.state().shard_duration = Duration::from_secs(random.u64(0..10));
    add_faults(&server, &mut random);
    let library = InMemoryLibrary {
        server: server.clone(),
        requeued: watch::Sender::new(0),
    };
    let uploader = Uploader::start(
        &tokio::runtime::Handle::current(),
        spool,
        Arc::clone(&journal),
        library,
        server.clone(),
    );
    let mut changes = uploader.watch();
    let all_backed_up = async {
        while journal.backed_up() < contents.len() {
            changes.changed().await.unwrap();
        }
    };
    let ended = timeout(Duration::from_hours(2), all_backed_up).await;
    assert!(ended.is_ok(), "seed {seed}: {:?}", uploader.status());
    uploader.stop().await;
    assert!(server.state().images == contents, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn every_photo_is_backed_up_whatever_the_network_does() {
    for seed in 0..5 {
        run(seed).await;
    }
}
