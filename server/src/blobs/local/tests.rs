//! What only a local directory can promise: the order of its calls, and what a failing disk leaves.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use futures_util::{FutureExt as _, future, stream};
use heirloom_protocol::possession::UserId;
use rustix::fs::{CWD, FileType, Mode};

use super::super::PartialBody;
use super::image_writer::PIECE_BYTES;
use super::incoming_file::IncomingFile;
use super::*;

/// How long an event may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A call that durability hangs on, and what it was done to.
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
    Damaged,
    Uploads,
    Images,
    FolderOfImages,
    Quarantine,
}
use Thing::{Damaged, FolderOfImages, Images, Incoming, Quarantine, Upload, Uploads};

/// A disk that tells what it does, fails where it is told to, and can make syncs wait for each
/// other.
#[derive(Debug)]
struct WatchedDisk {
    root: PathBuf,
    calls: Mutex<Sender<Call>>,
    failing: Mutex<Option<(Call, io::ErrorKind)>>,
    meeting: Option<Barrier>,
}

impl WatchedDisk {
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
            ["quarantine", _] => Damaged,
            other => panic!("{other:?}"),
        }
    }

    fn tell(&self, call: Call) -> io::Result<()> {
        self.calls.lock().unwrap().send(call).unwrap();
        match *self.failing.lock().unwrap() {
            Some((failing, kind)) if failing == call => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for WatchedDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.tell(Call::Write)?;
        KernelDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        if let Some(meeting) = &self.meeting {
            meeting.wait();
        }
        self.tell(Call::Sync(self.thing(path)))?;
        KernelDisk.sync(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell(Call::Rename(self.thing(from), self.thing(to)))?;
        KernelDisk.rename(from, to)
    }

    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell(Call::Rename(self.thing(from), self.thing(to)))?;
        KernelDisk.rename_to_new(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.tell(Call::SyncFolder(self.thing(path)))?;
        KernelDisk.sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tell(Call::Remove(self.thing(path)))?;
        KernelDisk.remove(path)
    }
}

/// Blobs on a watched disk.
struct House {
    blobs: LocalBlobs,
    disk: Arc<WatchedDisk>,
    data: DataDir,
    calls: Receiver<Call>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        Self::with_meeting(None).await
    }

    async fn with_meeting(meeting: Option<Barrier>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let (sender, calls) = mpsc::channel();
        let failing = Mutex::default();
        let disk = WatchedDisk {
            root: data.root().to_owned(),
            calls: Mutex::new(sender),
            failing,
            meeting,
        };
        let disk = Arc::new(disk);
        let blobs = LocalBlobs::open_on(Arc::clone(&disk) as Arc<dyn Disk>, &data)
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

async fn store(house: &House) -> Result<(), BlobError> {
    house
        .blobs
        .store(fingerprint(), CONTENT.len() as u64, body())
        .await
        .map(drop)
}

async fn write(house: &House) -> Result<(), BlobError> {
    house
        .blobs
        .write(key(), 0, Bytes::from_static(CONTENT))
        .await
}

async fn seal(house: &House) -> Result<(), BlobError> {
    house
        .blobs
        .finish(key(), CONTENT.len() as u64)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_stored_image_is_synced_then_named_then_its_folder_synced_then_acknowledged() {
    let house = House::new().await;
    store(&house).await.unwrap();
    let name = [
        Call::Sync(Incoming),
        Call::SyncFolder(Images),
        Call::Rename(Incoming, Thing::Image),
        Call::SyncFolder(FolderOfImages),
    ];
    assert_eq!(house.calls(), name, "the first image of a folder");
    store(&house).await.unwrap();
    assert_eq!(
        house.calls(),
        [name[0], name[2], name[3]],
        "the folder is known to be there"
    );
}

#[tokio::test]
async fn several_images_are_all_synced_before_any_is_named_and_the_folders_last() {
    let house = House::new().await;
    store(&house).await.unwrap();
    house.calls();
    let (mut several, mut folders) = (Vec::new(), std::collections::BTreeSet::new());
    for number in 0_u64..40 {
        let content = Bytes::from(number.to_le_bytes().to_vec());
        folders.insert(Fingerprint::of(&content).as_bytes()[0]);
        several.push((Fingerprint::of(&content), content));
    }
    assert!(folders.len() < several.len(), "some share a folder");
    house.blobs.store_batch(several).await.unwrap();
    let order = [
        vec![Call::Sync(Incoming); 40],
        vec![Call::Rename(Incoming, Thing::Image); 40],
        vec![Call::SyncFolder(FolderOfImages); folders.len()],
    ];
    assert_eq!(house.calls(), order.concat());
}

#[tokio::test]
async fn several_images_are_not_acknowledged_when_a_call_fails() {
    for call in [
        Call::Write,
        Call::Sync(Incoming),
        Call::Rename(Incoming, Thing::Image),
        Call::SyncFolder(FolderOfImages),
    ] {
        let house = House::new().await;
        house.fail(call, io::ErrorKind::Other);
        let error = house
            .blobs
            .store_batch(vec![(fingerprint(), Bytes::from_static(CONTENT))])
            .await
            .unwrap_err();
        assert!(matches!(error, BlobError::Io { .. }), "{call:?}: {error}");
        assert_eq!(house.uploads(), 0, "{call:?}: nothing unfinished is left");
    }
}

#[tokio::test]
async fn a_shard_and_the_name_of_its_upload_are_synced_before_they_are_acknowledged() {
    let house = House::new().await;
    write(&house).await.unwrap();
    assert_eq!(
        house.calls(),
        [Call::Sync(Upload), Call::SyncFolder(Uploads)]
    );
    write(&house).await.unwrap();
    assert_eq!(
        house.calls(),
        [Call::Sync(Upload)],
        "the name is durable already"
    );
    house.blobs.discard(key()).await.unwrap();
    assert_eq!(
        house.calls(),
        [Call::Remove(Upload), Call::SyncFolder(Uploads)]
    );
    write(&house).await.unwrap();
    assert_eq!(
        house.calls(),
        [Call::Sync(Upload), Call::SyncFolder(Uploads)],
        "a new file has a new name"
    );
}

#[tokio::test]
async fn a_sealed_image_is_synced_then_named_then_both_folders_synced_then_acknowledged() {
    let house = House::new().await;
    write(&house).await.unwrap();
    house.calls();
    seal(&house).await.unwrap();
    let order = [
        Call::Sync(Upload),
        Call::SyncFolder(Images),
        Call::Rename(Upload, Thing::Image),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Uploads),
    ];
    assert_eq!(house.calls(), order);
}

#[tokio::test]
async fn an_image_that_was_sealed_before_has_both_folders_synced_before_it_is_acknowledged() {
    let house = House::new().await;
    write(&house).await.unwrap();
    // The first sealing comes as far as the name.
    house.fail(Call::SyncFolder(FolderOfImages), io::ErrorKind::Other);
    seal(&house).await.unwrap_err();
    assert!(house.blobs.size(fingerprint()).await.unwrap().is_some());
    for call in [Call::SyncFolder(FolderOfImages), Call::SyncFolder(Uploads)] {
        house.fail(call, io::ErrorKind::Other);
        seal(&house).await.unwrap_err();
    }
    *house.disk.failing.lock().unwrap() = None;
    house.calls();
    seal(&house).await.unwrap();
    assert_eq!(
        house.calls(),
        [Call::SyncFolder(FolderOfImages), Call::SyncFolder(Uploads)]
    );
}

#[tokio::test]
async fn the_name_of_an_upload_that_another_server_dropped_is_synced_again() {
    let house = House::new().await;
    write(&house).await.unwrap();
    let name = fs::read_dir(house.data.uploads())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    // Nobody gets its inode as long as it is open.
    let dropped = File::open(name).unwrap();
    LocalBlobs::open(&house.data)
        .await
        .unwrap()
        .discard(key())
        .await
        .unwrap();
    house.calls();
    write(&house).await.unwrap();
    assert_eq!(
        house.calls(),
        [Call::Sync(Upload), Call::SyncFolder(Uploads)],
        "a new file has a new name"
    );
    drop(dropped);
}

/// What came of an image before its sender broke off.
async fn beginning(house: &House) -> Box<dyn PartialBody> {
    let came = [
        Ok(Bytes::from_static(&CONTENT[..8])),
        Err(io::ErrorKind::ConnectionReset.into()),
    ];
    match house
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
async fn a_kept_beginning_is_synced_then_named_then_its_folder_synced_then_acknowledged() {
    let house = House::new().await;
    let kept = beginning(&house).await.keep(key()).await.unwrap();
    assert_eq!(kept, ByteRange::new(0, 8).ok());
    let order = [
        Call::Sync(Incoming),
        Call::Rename(Incoming, Upload),
        Call::SyncFolder(Uploads),
    ];
    assert_eq!(house.calls(), order);
    for call in order {
        let house = House::new().await;
        house.fail(call, io::ErrorKind::Other);
        beginning(&house).await.keep(key()).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_damaged_image_leaves_with_both_folders_synced() {
    let house = House::new().await;
    store(&house).await.unwrap();
    let name = fingerprint().to_string();
    fs::write(house.data.images().join(&name[..2]).join(name), b"rotten").unwrap();
    house.calls();
    house.blobs.quarantine(fingerprint()).await.unwrap();
    let order = [
        Call::Rename(Thing::Image, Damaged),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Quarantine),
    ];
    assert_eq!(house.calls(), order);
}

#[tokio::test]
async fn an_image_that_is_healed_while_it_is_looked_at_is_not_carried_off() {
    let house = House::new().await;
    store(&house).await.unwrap();
    let name = fingerprint().to_string();
    let image = house.data.images().join(&name[..2]).join(&name);
    // A pipe in its place: whoever hashes it comes to its end when we let them.
    fs::remove_file(&image).unwrap();
    rustix::fs::mknodat(CWD, &image, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let blobs = house.blobs.clone();
    let quarantine = tokio::spawn(async move { blobs.quarantine(fingerprint()).await });
    let pipe = image.clone();
    let pipe = spawn_blocking(move || File::options().write(true).open(pipe))
        .await
        .unwrap()
        .unwrap();
    store(&house).await.unwrap();
    drop(pipe);
    quarantine.await.unwrap().unwrap();
    assert_eq!(fs::read(&image).unwrap(), CONTENT);
    assert_eq!(fs::read_dir(house.data.quarantine()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_removed_image_leaves_with_both_folders_synced() {
    let house = House::new().await;
    let order = [
        Call::Remove(Thing::Image),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Quarantine),
    ];
    for failing in order {
        store(&house).await.unwrap();
        house.fail(failing, io::ErrorKind::Other);
        remove(&house).await.unwrap_err();
        *house.disk.failing.lock().unwrap() = None;
    }
    store(&house).await.unwrap();
    house.calls();
    assert_eq!(remove(&house).await.unwrap().images, 1);
    assert_eq!(house.calls(), order);
}

async fn remove(house: &House) -> Result<RemovedStats, BlobError> {
    let alone = house
        .blobs
        .try_lock_exclusive(Prefix::of(fingerprint()))
        .await
        .unwrap()
        .expect("nobody is storing");
    house.blobs.remove(alone, vec![fingerprint()]).await
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
        let house = House::new().await;
        house.fail(call, io::ErrorKind::Other);
        let error = store(&house).await.unwrap_err();
        assert!(matches!(error, BlobError::Io { .. }), "{call:?}: {error}");
        assert_eq!(house.uploads(), 0, "{call:?} left a file behind");
        let stored = house.blobs.size(fingerprint()).await.unwrap();
        // Only behind the rename there is an image: whole, hashed, but not yet promised to anybody.
        let named = call == Call::SyncFolder(FolderOfImages);
        assert_eq!(stored.is_some(), named, "{call:?}");
    }
}

#[tokio::test]
async fn no_shard_and_no_seal_is_acknowledged_when_a_call_fails() {
    for call in [Call::Write, Call::Sync(Upload), Call::SyncFolder(Uploads)] {
        let house = House::new().await;
        house.fail(call, io::ErrorKind::Other);
        write(&house).await.unwrap_err();
        // The failure is not forgotten: the next write does all of it again.
        write(&house).await.unwrap_err();
    }
    for call in [
        Call::Sync(Upload),
        Call::SyncFolder(Images),
        Call::Rename(Upload, Thing::Image),
        Call::SyncFolder(FolderOfImages),
        Call::SyncFolder(Uploads),
    ] {
        let house = House::new().await;
        write(&house).await.unwrap();
        house.fail(call, io::ErrorKind::Other);
        let error = seal(&house).await.unwrap_err();
        assert!(matches!(error, BlobError::Io { .. }), "{call:?}: {error}");
        *house.disk.failing.lock().unwrap() = None;
        seal(&house).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_apart() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let house = House::new().await;
        house.fail(Call::Write, kind);
        for error in [
            store(&house).await.unwrap_err(),
            write(&house).await.unwrap_err(),
        ] {
            assert!(matches!(error, BlobError::Full { .. }), "{error}");
            assert!(error.is_transient());
        }
    }
}

#[tokio::test]
async fn a_store_dropped_half_way_removes_its_file() {
    let house = House::new().await;
    let large = Bytes::from(vec![7; PIECE_BYTES]);
    let never_ending = stream::iter([Ok(large)]).chain(stream::pending()).boxed();
    let store = house.blobs.store(fingerprint(), u64::MAX, never_ending);
    // The body's only piece goes to the disk; then the store waits for more.
    assert!(store.now_or_never().is_none());
    assert_eq!(house.calls.recv_timeout(SOON), Ok(Call::Write));
    assert_eq!(house.calls.recv_timeout(SOON), Ok(Call::Remove(Incoming)));
}

#[tokio::test]
async fn eight_stores_wait_for_the_disk_together() {
    // Each sync returns only when eight of them are under way: one lock around a sync, and this
    // never ends.
    let house = House::with_meeting(Some(Barrier::new(8))).await;
    let contents: Vec<Bytes> = (0..8_u8).map(|seed| vec![seed; 1000].into()).collect();
    let stores = contents.iter().map(|content| {
        let body = stream::iter([Ok(content.clone())]).boxed();
        house.blobs.store(Fingerprint::of(content), 1000, body)
    });
    let stores = tokio::time::timeout(SOON, future::join_all(stores))
        .await
        .expect("syncs wait for each other");
    for store in stores {
        drop(store.unwrap());
    }
}

#[tokio::test]
async fn what_a_crash_left_is_swept_and_what_is_in_use_is_not() {
    let house = House::new().await;
    let abandoned = house.data.uploads().join("incoming-0123");
    fs::write(&abandoned, b"half a photo").unwrap();
    write(&house).await.unwrap();
    let in_use = IncomingFile::create(Arc::new(KernelDisk), &house.data.uploads()).unwrap();
    assert_eq!(house.uploads(), 3);
    let second = LocalBlobs::open(&house.data).await.unwrap();
    assert!(!abandoned.exists());
    assert_eq!(house.uploads(), 2);
    assert_eq!(second.uploads().await.unwrap(), [key()]);
    drop(in_use);
    assert_eq!(house.uploads(), 1);
}
