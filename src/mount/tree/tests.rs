use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::Created;
use super::*;
use crate::intake::{BackupState, FileStatus};
use crate::spool::Replace;
use fuser::LockOwner;

mod names;
mod open_files;

/// Writes down what it is told. Stricter than intake: a note about a file must name it as the spool
/// has it, and every end must have had a beginning.
#[derive(Default)]
struct Recorder {
    notes: Mutex<Vec<String>>,
    spool: Mutex<Option<Spool>>,
    writers: AtomicU64,
}

impl Recorder {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.notes))
    }
    fn note(&self, note: String) {
        locked(&self.notes).push(note);
    }
    fn must_stand(&self, id: FileId, path: &LibraryPath) {
        let spool = locked(&self.spool);
        let facts = spool
            .as_ref()
            .unwrap()
            .metadata(&SpoolPath::Entry(path.clone()))
            .unwrap();
        assert_eq!(facts.id, id, "{path} is told as another file");
    }
}

impl ChangeListener for Recorder {
    fn opened_for_write(&self, id: FileId, path: &LibraryPath) {
        self.must_stand(id, path);
        self.writers.fetch_add(1, Ordering::SeqCst);
        self.note(format!("writing {path}"));
    }
    fn closed_after_write(&self, id: FileId, path: &LibraryPath) {
        self.must_stand(id, path);
        assert!(self.writers.fetch_sub(1, Ordering::SeqCst) > 0);
        self.note(format!("written {path}"));
    }
    fn changed(&self, id: FileId, path: &LibraryPath) {
        self.must_stand(id, path);
        self.note(format!("touched {path}"));
    }
    fn file_renamed(
        &self,
        id: FileId,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<FileId>,
    ) {
        self.must_stand(id, to);
        let over = if replaced.is_some() {
            " over another"
        } else {
            ""
        };
        self.note(format!("renamed {from} to {to}{over}"));
    }
    fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath) {
        self.note(format!("renamed folder {from} to {to}"));
    }
    fn exchanged(&self, one: &LibraryPath, other: &LibraryPath) {
        self.note(format!("exchanged {one} and {other}"));
    }
    fn removed(&self, _id: FileId, path: &LibraryPath) {
        self.note(format!("removed {path}"));
    }
    fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus {
        self.must_stand(id, path);
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

struct House {
    tree: Tree,
    notes: Arc<Recorder>,
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

impl House {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let notes = Arc::new(Recorder::default());
        *locked(&notes.spool) = Some(spool.clone());
        let tree = Tree::new(spool.clone(), Arc::clone(&notes) as Arc<dyn ChangeListener>).unwrap();
        Self {
            tree,
            notes,
            spool,
            _home: home,
        }
    }

    fn create(&self, folder: INodeNo, name: &str) -> Created {
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
    /// Makes a closed file and forgets the notes about that.
    fn put(&self, folder: INodeNo, name: &str, bytes: &[u8]) -> INodeNo {
        let made = self.create(folder, name);
        assert_eq!(
            self.tree
                .write(made.handle, 0, bytes, Hand::Anybody)
                .unwrap() as usize,
            bytes.len()
        );
        self.tree.close(made.handle);
        self.notes.take();
        made.entry.number
    }
    fn folder(&self, folder: INodeNo, name: &str) -> INodeNo {
        self.tree
            .create_folder(folder, OsStr::new(name), 0o755)
            .unwrap()
            .number
    }
    fn find(&self, folder: INodeNo, name: &str) -> Option<Entry> {
        self.tree.lookup(folder, OsStr::new(name)).unwrap()
    }
    fn bytes(&self, handle: FileHandle) -> Vec<u8> {
        let mut buffer = vec![0; 100];
        let count = self.tree.read(handle, 0, &mut buffer).unwrap();
        buffer.truncate(count);
        buffer
    }
    fn names(&self, folder: INodeNo) -> Vec<String> {
        let (handle, _) = self.tree.open_folder(folder).unwrap();
        let mut names = Vec::new();
        self.tree
            .list(handle, 0, |listed| {
                names.push(listed.name.clone());
                Room::Left
            })
            .unwrap();
        self.tree.close_folder(handle);
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }
}

const TOP: INodeNo = INodeNo::ROOT;

#[test]
fn a_photo_is_told_as_writing_before_its_first_byte_and_as_written_after_the_last() {
    let house = House::new();
    let made = house.create(TOP, "a.jpg");
    assert_eq!(house.notes.take(), ["writing a.jpg"]);
    house
        .tree
        .write(made.handle, 0, b"photo", Hand::Anybody)
        .unwrap();
    assert!(house.notes.take().is_empty());
    house.tree.close(made.handle);
    assert_eq!(house.notes.take(), ["written a.jpg"]);
    assert_eq!(
        std::fs::read(house.spool.root().join("a.jpg")).unwrap(),
        b"photo"
    );
}

#[test]
fn a_writer_that_writes_nothing_ends_too_and_a_reader_is_not_told() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"1");
    let writer = house.tree.open(number, WRITE, Truncate::No).unwrap();
    let reader = house.tree.open(number, READ, Truncate::No).unwrap();
    house.tree.close(reader);
    house.tree.close(writer);
    assert_eq!(house.notes.take(), ["writing a.jpg", "written a.jpg"]);
}

#[test]
fn times_and_size_without_a_handle_are_told_and_modes_are_not() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"12345");
    let change = Change {
        size: Some(3),
        ..Change::default()
    };
    assert_eq!(house.tree.change(number, None, &change).unwrap().size, 3);
    let times = super::super::shape::times(
        None,
        Some(fuser::TimeOrNow::SpecificTime(std::time::UNIX_EPOCH)),
    );
    let change = Change {
        times,
        ..Change::default()
    };
    assert_eq!(
        house
            .tree
            .change(number, None, &change)
            .unwrap()
            .modified
            .seconds,
        0
    );
    assert_eq!(house.notes.take(), ["touched a.jpg", "touched a.jpg"]);
    let change = Change {
        mode: Some(0o600),
        ..Change::default()
    };
    assert_eq!(
        house.tree.change(number, None, &change).unwrap().mode,
        0o600
    );
    assert!(house.notes.take().is_empty());
}

#[test]
fn a_name_that_a_library_cannot_hold_is_refused() {
    let house = House::new();
    let refused = |name: &[u8]| {
        let name = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
        house
            .tree
            .create(TOP, name, 0o644, WRITE, Existing::Refuse)
            .unwrap_err()
    };
    assert!(matches!(refused(b"caf\xe9.jpg"), TreeError::NameNotUtf8));
    assert!(matches!(refused(&[b'n'; 256]), TreeError::NameTooLong));
    assert!(matches!(refused(b".."), TreeError::NameReserved));
    assert!(matches!(refused(b"a/b"), TreeError::NameReserved));
    assert!(house.names(TOP).is_empty());
    house.put(TOP, &"n".repeat(255), b"fits");
}

#[test]
fn a_lookup_answers_what_is_there_and_what_is_not() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"1");
    let found = house.find(TOP, "a.jpg").unwrap();
    assert_eq!((found.number, found.facts.size), (number, 1));
    assert_eq!(
        number.0,
        std::fs::metadata(house.spool.root().join("a.jpg"))
            .unwrap()
            .ino()
    );
    assert!(house.find(TOP, "b.jpg").is_none());
    assert!(matches!(
        house.tree.lookup(INodeNo(u64::MAX), OsStr::new("x")),
        Err(TreeError::Stale(_))
    ));
}

#[test]
fn a_file_changed_behind_the_mount_is_not_mistaken_for_the_old_one() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"old");
    let _old = std::fs::File::open(house.spool.root().join("a.jpg")).unwrap();
    std::fs::remove_file(house.spool.root().join("a.jpg")).unwrap();
    std::fs::write(house.spool.root().join("a.jpg"), "new").unwrap();
    assert!(matches!(
        house.tree.open(number, READ, Truncate::No),
        Err(TreeError::Stale(_))
    ));
    assert!(matches!(
        house.tree.facts(number, None),
        Err(TreeError::Stale(_))
    ));
}

#[test]
fn users_attributes_are_kept_and_ours_are_told() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"1");
    let name = OsStr::new;
    house
        .tree
        .set_xattr(number, name("user.xdg.tags"), b"holiday", 0)
        .unwrap();
    assert_eq!(
        house.tree.xattr(number, name("user.xdg.tags")).unwrap(),
        b"holiday"
    );
    assert_eq!(house.tree.list_xattrs(number).unwrap(), ["user.xdg.tags"]);
    let told = |what: &str| {
        house
            .tree
            .xattr(number, name(what))
            .map(|value| String::from_utf8(value).unwrap())
    };
    assert_eq!(told("user.heirloom.state").unwrap(), "uploading");
    assert_eq!(told("user.heirloom.progress").unwrap(), "3/7");
    assert_eq!(told("user.heirloom.error").unwrap(), "slow");
    for missing in ["user.heirloom.fingerprint", "user.heirloom.colour"] {
        assert!(
            matches!(told(missing), Err(TreeError::NoAttribute)),
            "{missing}"
        );
    }
    for not_kept in ["security.capability", "system.posix_acl_access"] {
        assert!(
            matches!(told(not_kept), Err(TreeError::AttributeNotKept)),
            "{not_kept}"
        );
    }
    let set = |what: &str| house.tree.set_xattr(number, name(what), b"1", 0);
    assert!(matches!(
        set("user.heirloom.state"),
        Err(TreeError::AttributeIsOurs)
    ));
    assert!(matches!(set("trusted.x"), Err(TreeError::AttributeNotKept)));
    house
        .tree
        .remove_xattr(number, name("user.xdg.tags"))
        .unwrap();
    assert!(house.tree.list_xattrs(number).unwrap().is_empty());
    let folder = house.folder(TOP, "folder");
    assert!(matches!(
        house.tree.xattr(folder, name("user.heirloom.state")),
        Err(TreeError::NoAttribute)
    ));
}

/// Up to `count` names from a position on, and where to go on.
fn page(house: &House, handle: FileHandle, position: u64, count: usize) -> (Vec<String>, u64) {
    let (mut names, mut next) = (Vec::new(), position);
    let take = |listed: &folders::Listed, _: Option<&Entry>| {
        if names.len() == count {
            return Room::None;
        }
        names.push(listed.name.clone());
        next = listed.next;
        Room::Left
    };
    house.tree.list_entries(handle, position, take).unwrap();
    (names, next)
}

#[test]
fn a_listing_goes_on_where_it_stopped_and_shows_each_name_once() {
    let house = House::new();
    let stays: Vec<_> = (0..300).map(|count| format!("{count:03}.jpg")).collect();
    for name in &stays {
        house.put(TOP, name, b"1");
        house.put(TOP, &format!("{name}.goes"), b"1");
    }
    let (handle, _) = house.tree.open_folder(TOP).unwrap();
    let (mut names, mut position) = (Vec::new(), 0);
    for round in 0.. {
        let (some, next) = page(&house, handle, position, 7);
        if some.is_empty() {
            break;
        }
        names.extend(some);
        position = next;
        // Changes around it move nothing that stays.
        house.put(TOP, &format!("{round} comes"), b"1");
        if let Some(name) = stays.get(round) {
            house
                .tree
                .remove_file(TOP, OsStr::new(&format!("{name}.goes")))
                .unwrap();
        }
    }
    names.retain(|name| stays.contains(name));
    names.sort();
    assert_eq!(names, stays);
}

#[test]
fn what_a_listing_had_no_room_for_is_not_held() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"1");
    house.tree.forget(number, 1);
    let (handle, _) = house.tree.open_folder(TOP).unwrap();
    house
        .tree
        .list_entries(handle, 0, |_, entry| {
            if entry.is_some() {
                Room::None
            } else {
                Room::Left
            }
        })
        .unwrap();
    assert!(
        matches!(house.tree.facts(number, None), Err(TreeError::Stale(_))),
        "known again without the kernel's knowledge"
    );
    house
        .tree
        .list_entries(handle, 0, |_, _| Room::Left)
        .unwrap();
    assert_eq!(house.tree.facts(number, None).unwrap().size, 1);
}

#[test]
fn the_disk_is_measured_truly() {
    let house = House::new();
    let (told, disk) = (
        house.tree.disk().unwrap(),
        rustix::fs::statvfs(house.spool.root()).unwrap(),
    );
    assert_eq!(
        (told.f_blocks, told.f_bsize, told.f_files),
        (disk.f_blocks, disk.f_bsize, disk.f_files)
    );
}

#[test]
fn links_are_kept_as_they_were_written() {
    let house = House::new();
    let entry = house
        .tree
        .create_link(TOP, OsStr::new("link"), Path::new("../no where/\u{e9}"))
        .unwrap();
    assert_eq!(
        house.tree.read_link(entry.number).unwrap(),
        "../no where/\u{e9}"
    );
    assert_eq!(house.names(TOP), ["link"]);
    assert!(house.notes.take().is_empty(), "a link is no photo");
}
