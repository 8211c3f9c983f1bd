//! Tests of the local directory: the order of its system calls, and what a failing disk leaves.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use futures_util::{FutureExt as _, future, stream};
use heirloom_protocol::possession::UserId;
use rustix::fs::{CWD, FileType, Mode};

use super::super::error::PartialBody;
use super::image_writer::CHUNK_BYTES;
use super::incoming_file::IncomingFile;
use super::*;

/// How long an event may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A system call that durability depends on, and its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Write,
    Sync(Thing),
    Rename(Thing, Thing),
    SyncFolder(Thing),
    Remove(Thing),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Incoming,
    Upload,
    Image,
    Quarantined,
    Uploads,
    Images,
    FolderOfImages,
    Quarantine,
}
use Thing::{FolderOfImages, Images, Incoming, Quarantine, Quarantined, Upload, Uploads};

/// A disk that records its calls, fails a given one, and can make syncs wait for each other.
#[derive(Debug)]
struct RecordingDisk {
    root: PathBuf,
    calls: Mutex<Sender<Call>>,
    failing: Mutex<Option<(Call, io::ErrorKind)>>,
    sync_barrier: Option<Barrier>,
}

impl RecordingDisk {
    fn thing(&self, path: &Path) -> Thing {
        let path = path.strip_prefix(&self.root).unwrap();
        let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
        match parts.as_slice() {
            ["uploads"] => Uploads,
            ["uploads", name] if name.starts_with("incoming-") => Incoming,
            ["uploads", _] => Upload,
            ["images"] => Images,
            ["images", _] => FolderOfImages,
            ["images", _, _] => Thing::Image,
            ["quarantine"] => Quarantine,
            ["quarantine", _] => Quarantined,
            other => panic!("{other:?}"),
        }
    }

    fn record(&self, call: Call) -> io::Result<()> {
        self.calls.lock().unwrap().send(call).unwrap();
        match *self.failing.lock().unwrap() {
            Some((failing, kind)) if failing == call => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for RecordingDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.record(Call::Write)?;
        KernelDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        if let Some(sync_barrier) = &self.sync_barrier {
            sync_barrier.wait();
        }
        self.record(Call::Sync(self.thing(path)))?;
        KernelDisk.sync(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.record(Call::Rename(self.thing(from), self.thing(to)))?;
        KernelDisk.rename(from, to)
    }

    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.record(Call::Rename(self.thing(from), self.thing(to)))?;
        KernelDisk.rename_to_new(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.record(Call::SyncFolder(self.thing(path)))?;
        KernelDisk.sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.record(Call::Remove(self.thing(path)))?;
        KernelDisk.remove(path)
    }
}

/// A blob store on a recording disk.
struct Fixture {
    blobs: LocalBlobStore,
    disk: Arc<RecordingDisk>,
    data: DataDir,
    calls: Receiver<Call>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_barrier(None).await
    }

    async fn with_barrier(sync_barrier: Option<Barrier>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let (sender, calls) = mpsc::channel();
        let failing = Mutex::default();
        let disk = RecordingDisk {
            root: data.root().to_owned(),
            calls: Mutex::new(sender),
            failing,
            sync_barrier,
        };
        let disk = Arc::new(disk);
        let blobs = LocalBlobStore::open_on(Arc::clone(&disk) as Arc<dyn Disk>, &data)
            .await
            .unwrap();
        Self {
            blobs,
            disk,
            data,
            calls,
            _folder: folder,
        }
    }

    fn fail(&self, call: Call, kind: io::ErrorKind) {
        *self.disk.failing.lock().unwrap() = Some((call, kind));
    }

    fn calls(&self) -> Vec<Call> {
        self.calls
            .try_iter()
            .filter(|call| *call != Call::Write)
            .collect()
    }

    fn uploads(&self) -> usize {
        fs::read_dir(self.data.uploads()).unwrap().count()
    }
}

const CONTENT: &[u8] = b"not much of a photo";

fn fingerprint() -> Fingerprint {
    Fingerprint::of(CONTENT)
}

fn key() -> UploadKey {
    UploadKey {
        user: UserId(1),
        fingerprint: fingerprint(),
    }
}

fn body() -> ByteStream<'static> {
    stream::iter([Ok(Bytes::from_static(CONTENT))]).boxed()
}

async fn store(fixture: &Fixture) -> Result<(), BlobError> {
    fixture
        .blobs
        .store(fingerprint(), CONTENT.len() as u64, body())
        .await
        .map(drop)
}

async fn write(fixture: &Fixture) -> Result<(), BlobError> {
    fixture
        .blobs
        .write(key(), 0, Bytes::from_static(CONTENT))
        .await
}

async fn finish(fixture: &Fixture) -> Result<(), BlobError> {
    fixture
        .blobs
        .finish(key(), CONTENT.len() as u64)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_stored_image_is_synced_then_named_then_its_folder_synced_before_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    store(&fixture).await.unwrap();
    let name = [
        Call::Sync(Incoming),
        Call::SyncFolder(Images),
        Call::Rename(Incoming, Thing::Image),
        Call::SyncFolder(FolderOfImages),
    ];
    assert_eq!(fixture.calls(), name, "the first image of a folder");
    store(&fixture).await.unwrap();
    assert_eq!(
        fixture.calls(),
        [name[0], name[2], name[3]],
        "the folder is known to be there"
    );
}

#[tokio::test]
async fn a_batch_is_synced_then_named_then_its_folders_synced() {
    let fixture = Fixture::new().await;
    store(&fixture).await.unwrap();
    fixture.calls();
    let (mut batch, mut folders) = (Vec::new(), std::collections::BTreeSet::new());
    for number in 0_u64..40 {
        let content = Bytes::from(number.to_le_bytes().to_vec());
        folders.insert(Fingerprint::of(&content).as_bytes()[0]);
        batch.push((Fingerprint::of(&content), content));
    }
    assert!(folders.len() < batch.len(), "some share a folder");
    fixture.blobs.store_batch(batch).await.unwrap();
    let order = [
        vec![Call::Sync(Incoming); 40],
        vec![Call::Rename(Incoming, Thing::Image); 40],
        vec![Call::SyncFolder(FolderOfImages); folders.len()],
    ];
    assert_eq!(fixture.calls(), order.concat());
}

#[tokio::test]
async fn a_batch_is_not_acknowledged_when_a_call_fails() {
    for call in [
        Call::Write,
        Call::Sync(Incoming),
        Call::Rename(Incoming, Thing::Image),
        Call::SyncFolder(FolderOfImages),
    ] {
        let fixture = Fixture::new().await;
        fixture.fail(call, io::ErrorKind::Other);
        let error = fixture
            .blobs
            .store_batch(vec![(fingerprint(), Bytes::from_static(CONTENT))])
            .await
            .unwrap_err();
        assert!(matches!(error, BlobError::Io { .. }), "{call:?}: {error}");
        assert_eq!(fixture.uploads(), 0, "{call:?}: nothing unfinished is left");
    }
}

#[tokio::test]
async fn a_shard_and_the_name_of_its_upload_are_synced_before_they_are_acknowledged() {
    let fixture = Fixture::new().await;
    write(&fixture).await.unwrap();
    assert_eq!(
        fixture.calls(),
        [Call::Sync(Upload), Call::SyncFolder(Uploads)]
    );
    write(&fixture).await.unwrap();
    assert_eq!(
        fixture.calls(),
        [Call::Sync(Upload)],
        "the name is durable already"
    );
    fixture.blobs.discard(key()).await.unwrap();
    assert_eq!(
        fixture.calls(),
        [Call::Remove(Upload), Call::SyncFolder(Uploads)]
    );
    write(&fixture).await.unwrap();
    assert_eq!(
        fixture.calls(),
        [Call::Sync(Upload), Call::SyncFolder(Uploads)],
        "a new file has a new name"
    );
}

#[tokio::test]
async fn a_finished_upload_is_synced_then_named_then_both_folders_synced_before_it_is_acknowledged()
{
    let fixture = Fixture::new().await;
    write(&fixture).await.unwrap();
    fixture.calls();
    finish(&fixture).await.unwrap();
    let order = [
        Call::Sync(Upload),
        Call::SyncFolder(Images),
        Call::Rename(Upload, Thing::Image),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Uploads),
    ];
    assert_eq!(fixture.calls(), order);
}

#[tokio::test]
async fn finishing_an_upload_again_syncs_both_folders_before_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    write(&fixture).await.unwrap();
    // The first call gets as far as the name.
    fixture.fail(Call::SyncFolder(FolderOfImages), io::ErrorKind::Other);
    finish(&fixture).await.unwrap_err();
    assert!(fixture.blobs.size(fingerprint()).await.unwrap().is_some());
    for call in [Call::SyncFolder(FolderOfImages), Call::SyncFolder(Uploads)] {
        fixture.fail(call, io::ErrorKind::Other);
        finish(&fixture).await.unwrap_err();
    }
    *fixture.disk.failing.lock().unwrap() = None;
    fixture.calls();
    finish(&fixture).await.unwrap();
    assert_eq!(
        fixture.calls(),
        [Call::SyncFolder(FolderOfImages), Call::SyncFolder(Uploads)]
    );
}

#[tokio::test]
async fn the_name_of_an_upload_that_another_server_discarded_is_synced_again() {
    let fixture = Fixture::new().await;
    write(&fixture).await.unwrap();
    let name = fs::read_dir(fixture.data.uploads())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    // Nobody gets its inode as long as it is open.
    let dropped = File::open(name).unwrap();
    LocalBlobStore::open(&fixture.data)
        .await
        .unwrap()
        .discard(key())
        .await
        .unwrap();
    fixture.calls();
    write(&fixture).await.unwrap();
    assert_eq!(
        fixture.calls(),
        [Call::Sync(Upload), Call::SyncFolder(Uploads)],
        "a new file has a new name"
    );
    drop(dropped);
}

/// The part of an image that arrived before its sender disconnected.
async fn partial_body(fixture: &Fixture) -> Box<dyn PartialBody> {
    let came = [
        Ok(Bytes::from_static(&CONTENT[..8])),
        Err(io::ErrorKind::ConnectionReset.into()),
    ];
    match fixture
        .blobs
        .store(
            fingerprint(),
            CONTENT.len() as u64,
            stream::iter(came).boxed(),
        )
        .await
    {
        Err(BlobError::Sender { partial, .. }) => partial,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_kept_partial_body_is_synced_then_named_then_its_folder_synced_before_it_is_acknowledged()
{
    let fixture = Fixture::new().await;
    let kept = partial_body(&fixture).await.keep(key()).await.unwrap();
    assert_eq!(kept, ByteRange::new(0, 8).ok());
    let order = [
        Call::Sync(Incoming),
        Call::Rename(Incoming, Upload),
        Call::SyncFolder(Uploads),
    ];
    assert_eq!(fixture.calls(), order);
    for call in order {
        let fixture = Fixture::new().await;
        fixture.fail(call, io::ErrorKind::Other);
        partial_body(&fixture).await.keep(key()).await.unwrap_err();
    }
}

#[tokio::test]
async fn quarantining_an_image_syncs_both_folders() {
    let fixture = Fixture::new().await;
    store(&fixture).await.unwrap();
    let name = fingerprint().to_string();
    fs::write(fixture.data.images().join(&name[..2]).join(name), b"rotten").unwrap();
    fixture.calls();
    fixture.blobs.quarantine(fingerprint()).await.unwrap();
    let order = [
        Call::Rename(Thing::Image, Quarantined),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Quarantine),
    ];
    assert_eq!(fixture.calls(), order);
}

#[tokio::test]
async fn an_image_repaired_while_it_is_checked_is_not_quarantined() {
    let fixture = Fixture::new().await;
    store(&fixture).await.unwrap();
    let name = fingerprint().to_string();
    let image = fixture.data.images().join(&name[..2]).join(&name);
    // A pipe in its place: hashing it ends when we close it.
    fs::remove_file(&image).unwrap();
    rustix::fs::mknodat(CWD, &image, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let blobs = fixture.blobs.clone();
    let quarantine = tokio::spawn(async move { blobs.quarantine(fingerprint()).await });
    let pipe = image.clone();
    let pipe = spawn_blocking(move || File::options().write(true).open(pipe))
        .await
        .unwrap()
        .unwrap();
    store(&fixture).await.unwrap();
    drop(pipe);
    quarantine.await.unwrap().unwrap();
    assert_eq!(fs::read(&image).unwrap(), CONTENT);
    assert_eq!(fs::read_dir(fixture.data.quarantine()).unwrap().count(), 0);
}

#[tokio::test]
async fn removing_an_image_syncs_both_folders() {
    let fixture = Fixture::new().await;
    let order = [
        Call::Remove(Thing::Image),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Quarantine),
    ];
    for failing in order {
        store(&fixture).await.unwrap();
        fixture.fail(failing, io::ErrorKind::Other);
        remove(&fixture).await.unwrap_err();
        *fixture.disk.failing.lock().unwrap() = None;
    }
    store(&fixture).await.unwrap();
    fixture.calls();
    assert_eq!(remove(&fixture).await.unwrap().images, 1);
    assert_eq!(fixture.calls(), order);
}

async fn remove(fixture: &Fixture) -> Result<RemovedStats, BlobError> {
    let guard = fixture
        .blobs
        .try_lock_exclusive(Prefix::of(fingerprint()))
        .await
        .unwrap()
        .expect("no guard is held");
    fixture.blobs.remove(guard, vec![fingerprint()]).await
}

#[tokio::test]
async fn no_store_is_acknowledged_when_a_call_fails() {
    for call in [
        Call::Write,
        Call::Sync(Incoming),
        Call::SyncFolder(Images),
        Call::Rename(Incoming, Thing::Image),
        Call::SyncFolder(FolderOfImages),
    ] {
        let fixture = Fixture::new().await;
        fixture.fail(call, io::ErrorKind::Other);
        let error = store(&fixture).await.unwrap_err();
        assert!(matches!(error, BlobError::Io { .. }), "{call:?}: {error}");
        assert_eq!(fixture.uploads(), 0, "{call:?} left a file behind");
        let stored = fixture.blobs.size(fingerprint()).await.unwrap();
        // Only after the rename is there an image: whole, hashed, but not yet confirmed to anybody.
        let named = call == Call::SyncFolder(FolderOfImages);
        assert_eq!(stored.is_some(), named, "{call:?}");
    }
}

#[tokio::test]
async fn no_shard_and_no_finish_is_acknowledged_when_a_call_fails() {
    for call in [Call::Write, Call::Sync(Upload), Call::SyncFolder(Uploads)] {
        let fixture = Fixture::new().await;
        fixture.fail(call, io::ErrorKind::Other);
        write(&fixture).await.unwrap_err();
        // The failure is remembered: the next write repeats all of it.
        write(&fixture).await.unwrap_err();
    }
    for call in [
        Call::Sync(Upload),
        Call::SyncFolder(Images),
        Call::Rename(Upload, Thing::Image),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Uploads),
    ] {
        let fixture = Fixture::new().await;
        write(&fixture).await.unwrap();
        fixture.fail(call, io::ErrorKind::Other);
        let error = finish(&fixture).await.unwrap_err();
        assert!(matches!(error, BlobError::Io { .. }), "{call:?}: {error}");
        *fixture.disk.failing.lock().unwrap() = None;
        finish(&fixture).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_transient_error_of_its_own() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let fixture = Fixture::new().await;
        fixture.fail(Call::Write, kind);
        for error in [
            store(&fixture).await.unwrap_err(),
            write(&fixture).await.unwrap_err(),
        ] {
            assert!(matches!(error, BlobError::Full { .. }), "{error}");
            assert!(error.is_transient());
        }
    }
}

#[tokio::test]
async fn a_store_dropped_half_way_removes_its_file() {
    let fixture = Fixture::new().await;
    let large = Bytes::from(vec![7; CHUNK_BYTES]);
    let never_ending = stream::iter([Ok(large)]).chain(stream::pending()).boxed();
    let store = fixture.blobs.store(fingerprint(), u64::MAX, never_ending);
    // The body's only piece goes to the disk; then the store waits for more.
    assert!(store.now_or_never().is_none());
    assert_eq!(fixture.calls.recv_timeout(SOON), Ok(Call::Write));
    assert_eq!(fixture.calls.recv_timeout(SOON), Ok(Call::Remove(Incoming)));
}

#[tokio::test]
async fn eight_stores_sync_in_parallel() {
    // Each sync returns only when eight of them are under way: one lock around a sync, and this
    // never ends.
    let fixture = Fixture::with_barrier(Some(Barrier::new(8))).await;
    let contents: Vec<Bytes> = (0..8_u8).map(|seed| vec![seed; 1000].into()).collect();
    let stores = contents.iter().map(|content| {
        let body = stream::iter([Ok(content.clone())]).boxed();
        fixture.blobs.store(Fingerprint::of(content), 1000, body)
    });
    let stores = tokio::time::timeout(SOON, future::join_all(stores))
        .await
        .expect("syncs wait for each other");
    for store in stores {
        drop(store.unwrap());
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_and_files_in_use_are_not() {
    let fixture = Fixture::new().await;
    let abandoned = fixture.data.uploads().join("incoming-0123");
    fs::write(&abandoned, b"half a photo").unwrap();
    write(&fixture).await.unwrap();
    let in_use = IncomingFile::create(Arc::new(KernelDisk), &fixture.data.uploads()).unwrap();
    assert_eq!(fixture.uploads(), 3);
    let second = LocalBlobStore::open(&fixture.data).await.unwrap();
    assert!(!abandoned.exists());
    assert_eq!(fixture.uploads(), 2);
    assert_eq!(second.uploads().await.unwrap(), [key()]);
    drop(in_use);
    assert_eq!(fixture.uploads(), 1);
}
