//! The file system without a mount.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heirloom_protocol::LibraryPath;
use parking_lot::Mutex;

use super::tree::Tree;
use crate::intake::{BackupState, FileStatus};
use crate::journal::FileId;
use crate::mount::listener::ChangeListener;
use crate::mount::types::{
    AttributeChange, Created, DirEntry, Entry, Existing, FillResult, HandleId, Ino, LockOwner,
    SyncScope, TreeError, Truncate, Writer,
};
use crate::spool::{self, Access, Durability, OpenOptions, Replace, Spool, SpoolPath};

mod names;
mod open_files;

/// Records every event. Stricter than the intake: an event must name the file as the spool has it,
/// and every close must follow an open.
#[derive(Default)]
struct RecordingListener {
    events: Mutex<Vec<String>>,
    spool: Mutex<Option<Spool>>,
    writers: AtomicU64,
}

impl RecordingListener {
    fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock())
    }
    fn record(&self, event: String) {
        self.events.lock().push(event);
    }
    fn assert_named(&self, id: FileId, path: &LibraryPath) {
        let spool = self.spool.lock();
        let metadata = spool
            .as_ref()
            .unwrap()
            .metadata(&SpoolPath::Entry(path.clone()))
            .unwrap();
        assert_eq!(metadata.id, id, "{path} is reported as another file");
    }
}

impl ChangeListener for RecordingListener {
    fn opened_for_write(&self, id: FileId, path: &LibraryPath) {
        self.assert_named(id, path);
        self.writers.fetch_add(1, Ordering::SeqCst);
        self.record(format!("writing {path}"));
    }
    fn closed_after_write(&self, id: FileId, path: &LibraryPath) {
        self.assert_named(id, path);
        assert!(self.writers.fetch_sub(1, Ordering::SeqCst) > 0);
        self.record(format!("written {path}"));
    }
    fn changed(&self, id: FileId, path: &LibraryPath) {
        self.assert_named(id, path);
        self.record(format!("touched {path}"));
    }
    fn file_renamed(
        &self,
        id: FileId,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<FileId>,
    ) {
        self.assert_named(id, to);
        let over = if replaced.is_some() {
            " over another"
        } else {
            ""
        };
        self.record(format!("renamed {from} to {to}{over}"));
    }
    fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath) {
        self.record(format!("renamed folder {from} to {to}"));
    }
    fn exchanged(&self, one: &LibraryPath, other: &LibraryPath) {
        self.record(format!("exchanged {one} and {other}"));
    }
    fn removed(&self, _id: FileId, path: &LibraryPath) {
        self.record(format!("removed {path}"));
    }
    fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus {
        self.assert_named(id, path);
        let progress = Some(crate::uploader::Progress {
            received_bytes: 3,
            total_bytes: 7,
        });
        FileStatus {
            state: BackupState::Uploading,
            fingerprint: None,
            progress,
            why: Some("slow".to_owned()),
        }
    }
}

struct Fixture {
    tree: Tree,
    listener: Arc<RecordingListener>,
    spool: Spool,
    _home: tempfile::TempDir,
}

const WRITE: OpenOptions = OpenOptions {
    access: Access::Write,
    durability: Durability::Lazy,
};
const READ: OpenOptions = OpenOptions {
    access: Access::Read,
    durability: Durability::Lazy,
};

impl Fixture {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let listener = Arc::new(RecordingListener::default());
        *listener.spool.lock() = Some(spool.clone());
        let tree = Tree::new(spool.clone(), Arc::clone(&listener) as _, None).unwrap();
        Self {
            tree,
            listener,
            spool,
            _home: home,
        }
    }

    fn create(&self, folder: Ino, name: &str) -> Created {
        self.tree
            .create(
                folder,
                OsStr::new(name),
                0o644,
                WRITE,
                Existing::Open(Truncate::No),
            )
            .unwrap()
    }
    /// Creates a closed file and drops the events of that.
    fn put(&self, folder: Ino, name: &str, bytes: &[u8]) -> Ino {
        let made = self.create(folder, name);
        assert_eq!(
            self.tree
                .write(made.handle, 0, bytes, Writer::Unknown)
                .unwrap() as usize,
            bytes.len()
        );
        self.tree.close(made.handle);
        self.listener.take_events();
        made.entry.ino
    }
    fn folder(&self, folder: Ino, name: &str) -> Ino {
        self.tree
            .create_folder(folder, OsStr::new(name), 0o755)
            .unwrap()
            .ino
    }
    fn find(&self, folder: Ino, name: &str) -> Option<Entry> {
        self.tree.lookup(folder, OsStr::new(name)).unwrap()
    }
    fn bytes(&self, handle: HandleId) -> Vec<u8> {
        let mut buffer = vec![0; 100];
        let count = self.tree.read(handle, 0, &mut buffer).unwrap();
        buffer.truncate(count);
        buffer
    }
    fn names(&self, folder: Ino) -> Vec<String> {
        let (handle, _) = self.tree.open_folder(folder).unwrap();
        let mut names = Vec::new();
        self.tree
            .list(handle, 0, |listed| {
                names.push(listed.name.clone());
                FillResult::Added
            })
            .unwrap();
        self.tree.close_folder(handle);
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }
}

const ROOT: Ino = Ino::ROOT;

#[test]
fn an_open_is_reported_before_the_first_byte_and_the_close_after_the_last() {
    let fixture = Fixture::new();
    let made = fixture.create(ROOT, "a.jpg");
    assert_eq!(fixture.listener.take_events(), ["writing a.jpg"]);
    fixture
        .tree
        .write(made.handle, 0, b"photo", Writer::Unknown)
        .unwrap();
    assert!(fixture.listener.take_events().is_empty());
    fixture.tree.close(made.handle);
    assert_eq!(fixture.listener.take_events(), ["written a.jpg"]);
    assert_eq!(
        std::fs::read(fixture.spool.root().join("a.jpg")).unwrap(),
        b"photo"
    );
}

#[test]
fn a_writer_that_writes_nothing_is_reported_too_and_a_reader_is_not() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"1");
    let writer = fixture.tree.open(ino, WRITE, Truncate::No).unwrap();
    let reader = fixture.tree.open(ino, READ, Truncate::No).unwrap();
    fixture.tree.close(reader);
    fixture.tree.close(writer);
    assert_eq!(
        fixture.listener.take_events(),
        ["writing a.jpg", "written a.jpg"]
    );
}

#[test]
fn changes_of_times_and_size_without_a_handle_are_reported_and_of_modes_are_not() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"12345");
    let change = AttributeChange {
        size: Some(3),
        ..AttributeChange::default()
    };
    assert_eq!(
        fixture
            .tree
            .set_attributes(ino, None, &change)
            .unwrap()
            .size,
        3
    );
    let times = Some(spool::modified_at(0));
    let change = AttributeChange {
        times,
        ..AttributeChange::default()
    };
    assert_eq!(
        fixture
            .tree
            .set_attributes(ino, None, &change)
            .unwrap()
            .modified
            .seconds,
        0
    );
    assert_eq!(
        fixture.listener.take_events(),
        ["touched a.jpg", "touched a.jpg"]
    );
    let change = AttributeChange {
        mode: Some(0o600),
        ..AttributeChange::default()
    };
    assert_eq!(
        fixture
            .tree
            .set_attributes(ino, None, &change)
            .unwrap()
            .mode,
        0o600
    );
    assert!(fixture.listener.take_events().is_empty());
}

#[test]
fn a_name_that_a_library_cannot_hold_is_refused() {
    let fixture = Fixture::new();
    let refused = |name: &[u8]| {
        let name = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
        fixture
            .tree
            .create(ROOT, name, 0o644, WRITE, Existing::Refuse)
            .unwrap_err()
    };
    assert!(matches!(refused(b"caf\xe9.jpg"), TreeError::NameNotUtf8));
    assert!(matches!(refused(&[b'n'; 256]), TreeError::NameTooLong));
    assert!(matches!(refused(b".."), TreeError::InvalidName));
    assert!(matches!(refused(b"a/b"), TreeError::InvalidName));
    assert!(fixture.names(ROOT).is_empty());
    fixture.put(ROOT, &"n".repeat(255), b"fits");
}

#[test]
fn a_lookup_finds_existing_names_only() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"1");
    let found = fixture.find(ROOT, "a.jpg").unwrap();
    assert_eq!((found.ino, found.metadata.size), (ino, 1));
    assert_eq!(
        ino.0,
        std::fs::metadata(fixture.spool.root().join("a.jpg"))
            .unwrap()
            .ino()
    );
    assert!(fixture.find(ROOT, "b.jpg").is_none());
    assert!(matches!(
        fixture.tree.lookup(Ino(u64::MAX), OsStr::new("x")),
        Err(TreeError::Stale(_))
    ));
}

#[test]
fn a_file_changed_behind_the_mount_is_not_mistaken_for_the_old_one() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"old");
    let _old = std::fs::File::open(fixture.spool.root().join("a.jpg")).unwrap();
    std::fs::remove_file(fixture.spool.root().join("a.jpg")).unwrap();
    std::fs::write(fixture.spool.root().join("a.jpg"), "new").unwrap();
    assert!(matches!(
        fixture.tree.open(ino, READ, Truncate::No),
        Err(TreeError::Stale(_))
    ));
    assert!(matches!(
        fixture.tree.attributes(ino, None),
        Err(TreeError::Stale(_))
    ));
}

#[test]
fn user_attributes_are_stored_and_virtual_ones_are_computed() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"1");
    let name = OsStr::new;
    fixture
        .tree
        .set_xattr(ino, name("user.xdg.tags"), b"holiday", 0)
        .unwrap();
    assert_eq!(
        fixture.tree.xattr(ino, name("user.xdg.tags")).unwrap(),
        b"holiday"
    );
    assert_eq!(fixture.tree.list_xattrs(ino).unwrap(), ["user.xdg.tags"]);
    let virtual_xattr = |what: &str| {
        fixture
            .tree
            .xattr(ino, name(what))
            .map(|value| String::from_utf8(value).unwrap())
    };
    assert_eq!(virtual_xattr("user.heirloom.state").unwrap(), "uploading");
    assert_eq!(virtual_xattr("user.heirloom.progress").unwrap(), "3/7");
    assert_eq!(virtual_xattr("user.heirloom.error").unwrap(), "slow");
    for missing in ["user.heirloom.fingerprint", "user.heirloom.colour"] {
        assert!(
            matches!(virtual_xattr(missing), Err(TreeError::NoXattr)),
            "{missing}"
        );
    }
    for unsupported in ["security.capability", "system.posix_acl_access"] {
        assert!(
            matches!(virtual_xattr(unsupported), Err(TreeError::UnsupportedXattr)),
            "{unsupported}"
        );
    }
    let set = |what: &str| fixture.tree.set_xattr(ino, name(what), b"1", 0);
    assert!(matches!(
        set("user.heirloom.state"),
        Err(TreeError::ReservedXattr)
    ));
    assert!(matches!(set("trusted.x"), Err(TreeError::UnsupportedXattr)));
    fixture
        .tree
        .remove_xattr(ino, name("user.xdg.tags"))
        .unwrap();
    assert!(fixture.tree.list_xattrs(ino).unwrap().is_empty());
    let folder = fixture.folder(ROOT, "folder");
    assert!(matches!(
        fixture.tree.xattr(folder, name("user.heirloom.state")),
        Err(TreeError::NoXattr)
    ));
}

/// Up to `count` names from a position on, and the position after them.
fn page(fixture: &Fixture, handle: HandleId, position: u64, count: usize) -> (Vec<String>, u64) {
    let (mut names, mut next) = (Vec::new(), position);
    let take = |listed: &DirEntry, _: Option<&Entry>| {
        if names.len() == count {
            return FillResult::Full;
        }
        names.push(listed.name.clone());
        next = listed.next;
        FillResult::Added
    };
    fixture.tree.list_entries(handle, position, take).unwrap();
    (names, next)
}

#[test]
fn a_listing_continues_where_it_stopped_and_shows_each_name_once() {
    let fixture = Fixture::new();
    let stays: Vec<_> = (0..300).map(|count| format!("{count:03}.jpg")).collect();
    for name in &stays {
        fixture.put(ROOT, name, b"1");
        fixture.put(ROOT, &format!("{name}.goes"), b"1");
    }
    let (handle, _) = fixture.tree.open_folder(ROOT).unwrap();
    let (mut names, mut position) = (Vec::new(), 0);
    for round in 0.. {
        let (some, next) = page(&fixture, handle, position, 7);
        if some.is_empty() {
            break;
        }
        names.extend(some);
        position = next;
        // Changes around it move nothing that stays.
        fixture.put(ROOT, &format!("{round} comes"), b"1");
        if let Some(name) = stays.get(round) {
            fixture
                .tree
                .remove_file(ROOT, OsStr::new(&format!("{name}.goes")))
                .unwrap();
        }
    }
    names.retain(|name| stays.contains(name));
    names.sort();
    assert_eq!(names, stays);
}

#[test]
fn an_entry_that_did_not_fit_into_a_listing_is_not_held() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"1");
    fixture.tree.forget(ino, 1);
    let (handle, _) = fixture.tree.open_folder(ROOT).unwrap();
    fixture
        .tree
        .list_entries(handle, 0, |_, entry| {
            if entry.is_some() {
                FillResult::Full
            } else {
                FillResult::Added
            }
        })
        .unwrap();
    assert!(
        matches!(fixture.tree.attributes(ino, None), Err(TreeError::Stale(_))),
        "held again without the kernel's knowledge"
    );
    fixture
        .tree
        .list_entries(handle, 0, |_, _| FillResult::Added)
        .unwrap();
    assert_eq!(fixture.tree.attributes(ino, None).unwrap().size, 1);
}

#[test]
fn statfs_reports_the_spools_disk() {
    let fixture = Fixture::new();
    let (reported, disk) = (
        fixture.tree.disk().unwrap(),
        rustix::fs::statvfs(fixture.spool.root()).unwrap(),
    );
    assert_eq!(
        (reported.f_blocks, reported.f_bsize, reported.f_files),
        (disk.f_blocks, disk.f_bsize, disk.f_files)
    );
}

#[test]
fn links_are_kept_as_they_were_written() {
    let fixture = Fixture::new();
    let entry = fixture
        .tree
        .create_symlink(ROOT, OsStr::new("link"), Path::new("../no where/\u{e9}"))
        .unwrap();
    assert_eq!(
        fixture.tree.read_link(entry.ino).unwrap(),
        "../no where/\u{e9}"
    );
    assert_eq!(fixture.names(ROOT), ["link"]);
    assert!(
        fixture.listener.take_events().is_empty(),
        "links are not reported"
    );
}
