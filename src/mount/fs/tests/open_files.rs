//! Operations on open files, with and without a name.

use super::*;
use crate::spool::WriteState;

const BOTH: OpenOptions = OpenOptions {
    access: Access::ReadWrite,
    durability: Durability::Lazy,
};

#[test]
fn a_removed_file_stays_usable_while_it_is_open() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"12345");
    let open = fixture.tree.open(ino, BOTH, Truncate::No).unwrap();
    fixture.tree.remove_file(ROOT, OsStr::new("a.jpg")).unwrap();
    assert_eq!(
        fixture.tree.attributes(ino, None).unwrap().nlink,
        0,
        "by ino"
    );
    let change = AttributeChange {
        size: Some(3),
        mode: Some(0o600),
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
    assert_eq!(
        fixture
            .tree
            .set_attributes(
                ino,
                Some(open),
                &AttributeChange {
                    size: Some(4),
                    ..AttributeChange::default()
                }
            )
            .unwrap()
            .size,
        4
    );
    fixture.tree.write(open, 4, b"X", Writer::Unknown).unwrap();
    assert_eq!(fixture.bytes(open), b"123\0X");
    let again = fixture.tree.open(ino, READ, Truncate::No).unwrap();
    assert_eq!(
        fixture.bytes(again),
        b"123\0X",
        "opened once more through /proc"
    );
    fixture.tree.sync(open, SyncScope::All).unwrap();
    fixture.tree.close(again);
    fixture.tree.close(open);
    assert_eq!(
        fixture.listener.take_events(),
        ["writing a.jpg", "removed a.jpg"],
        "and no close of a removed file"
    );
    assert!(matches!(
        fixture.tree.attributes(ino, None),
        Err(TreeError::Removed(_))
    ));
}

#[test]
fn create_honours_exclusive_and_truncate() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"12345");
    let create = |existing| {
        fixture
            .tree
            .create(ROOT, OsStr::new("a.jpg"), 0o600, BOTH, existing)
    };
    assert!(matches!(create(Existing::Refuse), Err(TreeError::Spool(_))));
    let kept = create(Existing::Open(Truncate::No)).unwrap();
    assert_eq!(
        (
            kept.entry.ino,
            kept.entry.metadata.size,
            kept.entry.metadata.mode
        ),
        (ino, 5, 0o644)
    );
    let emptied = create(Existing::Open(Truncate::Yes)).unwrap();
    assert_eq!(emptied.entry.metadata.size, 0);
    fixture.tree.close(kept.handle);
    fixture.tree.close(emptied.handle);
    assert_eq!(
        fixture.listener.take_events(),
        [
            "writing a.jpg",
            "writing a.jpg",
            "written a.jpg",
            "written a.jpg"
        ]
    );
}

#[test]
fn a_file_emptied_through_a_read_only_handle_is_reported() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"12345");
    let open = fixture.tree.open(ino, READ, Truncate::Yes).unwrap();
    assert_eq!(fixture.tree.attributes(ino, Some(open)).unwrap().size, 0);
    assert_eq!(fixture.listener.take_events(), ["touched a.jpg"]);
}

#[test]
fn holes_are_found_made_and_read_as_zeros() {
    let fixture = Fixture::new();
    let made = fixture.create(ROOT, "sparse");
    fixture
        .tree
        .write(made.handle, 1 << 20, b"end", Writer::Unknown)
        .unwrap();
    assert_eq!(
        fixture
            .tree
            .seek(made.handle, rustix::fs::SeekFrom::Data(0))
            .unwrap(),
        1 << 20
    );
    assert_eq!(
        fixture
            .tree
            .seek(made.handle, rustix::fs::SeekFrom::Hole(0))
            .unwrap(),
        0
    );
    let metadata = fixture.tree.attributes(made.entry.ino, None).unwrap();
    assert_eq!(metadata.size, (1 << 20) + 3);
    assert!(
        metadata.blocks * 512 < 1 << 20,
        "{} blocks",
        metadata.blocks
    );
    fixture.tree.allocate(made.handle, 0, 2 << 20, 0).unwrap();
    assert_eq!(
        fixture.tree.attributes(made.entry.ino, None).unwrap().size,
        2 << 20
    );
}

#[test]
fn bytes_are_copied_inside_the_spool() {
    let fixture = Fixture::new();
    let from = fixture.put(ROOT, "from", b"0123456789");
    let from = fixture.tree.open(from, READ, Truncate::No).unwrap();
    let to = fixture
        .tree
        .create(ROOT, OsStr::new("to"), 0o644, BOTH, Existing::Refuse)
        .unwrap()
        .handle;
    assert_eq!(fixture.tree.copy((from, 2), (to, 1), 5).unwrap(), 5);
    assert_eq!(fixture.bytes(to), b"\x0023456");
}

#[test]
fn a_closed_handle_is_closed() {
    let fixture = Fixture::new();
    let made = fixture.create(ROOT, "a.jpg");
    fixture.tree.close(made.handle);
    fixture.tree.close(made.handle);
    assert!(matches!(
        fixture.tree.write(made.handle, 0, b"1", Writer::Unknown),
        Err(TreeError::BadHandle(_))
    ));
    assert!(matches!(
        fixture.tree.sync(made.handle, SyncScope::Data),
        Err(TreeError::BadHandle(_))
    ));
    assert_eq!(
        fixture.listener.take_events(),
        ["writing a.jpg", "written a.jpg"],
        "one close for one open"
    );
}

#[test]
fn open_files_are_closed_when_the_mount_ends() {
    let fixture = Fixture::new();
    fixture.create(ROOT, "a.jpg");
    fixture.tree.close_all();
    assert_eq!(
        fixture.listener.take_events(),
        ["writing a.jpg", "written a.jpg"]
    );
}

#[test]
fn setid_bits_are_cleared_when_the_kernel_asks() {
    let fixture = Fixture::new();
    let made = fixture.create(ROOT, "tool");
    let change = AttributeChange {
        mode: Some(0o6755),
        ..AttributeChange::default()
    };
    fixture
        .tree
        .set_attributes(made.entry.ino, None, &change)
        .unwrap();
    fixture.tree.clear_setid_bits(made.handle).unwrap();
    assert_eq!(
        fixture.tree.attributes(made.entry.ino, None).unwrap().mode,
        0o755
    );
}

#[test]
fn many_threads_create_rename_and_remove_and_the_inodes_stay_right() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                let folder = fixture.folder(ROOT, &format!("folder {thread}"));
                for round in 0..100 {
                    let (name, other) = (format!("{round}.part"), format!("{}.jpg", round % 5));
                    let made = fixture.create(folder, &name);
                    fixture
                        .tree
                        .write(made.handle, 0, name.as_bytes(), Writer::Unknown)
                        .unwrap();
                    fixture
                        .tree
                        .rename(
                            (folder, OsStr::new(&name)),
                            (folder, OsStr::new(&other)),
                            Replace::Allow,
                        )
                        .unwrap();
                    fixture.tree.close(made.handle);
                    let open = fixture
                        .tree
                        .open(made.entry.ino, READ, Truncate::No)
                        .unwrap();
                    assert_eq!(fixture.bytes(open), name.as_bytes());
                    fixture.tree.close(open);
                    if round % 3 == 0 {
                        fixture
                            .tree
                            .remove_file(folder, OsStr::new(&other))
                            .unwrap();
                    }
                    fixture.tree.forget(made.entry.ino, 1);
                }
            });
        }
    });
    assert_eq!(fixture.listener.writers.load(Ordering::SeqCst), 0);
}

#[test]
fn a_file_is_marked_from_the_first_write_to_the_flush_of_its_last_writer() {
    let fixture = Fixture::new();
    let write_state = || {
        let file = fixture
            .spool
            .open_read(&LibraryPath::new("a.jpg").unwrap())
            .unwrap();
        fixture.spool.marker().write_state(&file).unwrap()
    };
    let ino = fixture.put(ROOT, "a.jpg", b"12345");
    let open = || fixture.tree.open(ino, BOTH, Truncate::No).unwrap();
    let (first, second) = (open(), open());
    assert_eq!(write_state(), WriteState::Complete, "opened only");
    fixture
        .tree
        .write(first, 5, b"67", Writer::Unknown)
        .unwrap();
    fixture
        .tree
        .write(second, 7, b"89", Writer::Unknown)
        .unwrap();
    fixture.tree.flush(first, LockOwner(1)).unwrap();
    assert_eq!(
        write_state(),
        WriteState::Unfinished,
        "the second still writes"
    );
    fixture.tree.flush(second, LockOwner(1)).unwrap();
    assert_eq!(write_state(), WriteState::Complete);
    fixture
        .tree
        .write(second, 0, b"0", Writer::Unknown)
        .unwrap();
    assert_eq!(
        write_state(),
        WriteState::Unfinished,
        "after one of several closes"
    );
    fixture.tree.close(second);
    fixture.tree.close(first);
    assert_eq!(write_state(), WriteState::Complete);
    assert_eq!(
        fixture.tree.write_tracker.len(),
        0,
        "closed files are not tracked"
    );
}

#[test]
fn pages_of_a_mapping_in_flight_when_its_file_is_emptied_are_dropped() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"0123456789");
    let mapped = fixture.tree.open(ino, BOTH, Truncate::No).unwrap();
    assert_eq!(
        fixture.tree.write_back(mapped, 8, b"ABCD").unwrap(),
        4,
        "what lies beyond the end is dropped without an error"
    );
    assert_eq!(fixture.bytes(mapped), b"01234567AB");
    let emptied = fixture.tree.open(ino, BOTH, Truncate::Yes).unwrap();
    assert_eq!(fixture.tree.write_back(mapped, 4, b"late").unwrap(), 4);
    assert_eq!(fixture.bytes(emptied), b"");
}

#[test]
fn closing_an_inherited_descriptor_does_not_complete_the_file() {
    let fixture = Fixture::new();
    let (writer, other, child) = (LockOwner(1), LockOwner(2), LockOwner(3));
    let made = fixture.create(ROOT, "a.jpg");
    let is_complete = || mark(&fixture, "a.jpg").unwrap().starts_with("1 closed");
    fixture
        .tree
        .write(made.handle, 0, b"pho", Writer::Owner(writer))
        .unwrap();
    fixture
        .tree
        .write(made.handle, 3, b"to", Writer::Owner(other))
        .unwrap();
    fixture.tree.flush(made.handle, child).unwrap();
    assert!(!is_complete(), "both still write");
    fixture.tree.flush(made.handle, writer).unwrap();
    assert!(!is_complete(), "one still writes");
    fixture.tree.flush(made.handle, other).unwrap();
    assert!(is_complete());
    fixture
        .tree
        .write(made.handle, 5, b"!", Writer::Owner(writer))
        .unwrap();
    fixture.tree.close(made.handle);
    assert!(is_complete(), "no handle is left, whoever closed the last");
}

#[test]
fn a_change_by_an_unknown_writer_ends_with_any_close() {
    let fixture = Fixture::new();
    let made = fixture.create(ROOT, "a.jpg");
    fixture.tree.allocate(made.handle, 0, 5, 0).unwrap();
    fixture.tree.flush(made.handle, LockOwner(1)).unwrap();
    assert!(mark(&fixture, "a.jpg").unwrap().starts_with("1 closed"));
}

/// The write-state attribute of a file on the disk.
fn mark(fixture: &Fixture, name: &str) -> Option<String> {
    let mark = spool::xattr(
        fixture
            .spool
            .open_read(&LibraryPath::new(name).unwrap())
            .unwrap(),
        OsStr::new("user.heirloom.mark"),
    );
    mark.ok().map(|mark| String::from_utf8(mark).unwrap())
}

#[test]
fn a_new_file_has_its_mark_before_its_first_byte() {
    let fixture = Fixture::new();
    let synced = OpenOptions {
        access: Access::Write,
        durability: Durability::All,
    };
    for (name, options) in [("plain.jpg", WRITE), ("synced.jpg", synced)] {
        let made = fixture
            .tree
            .create(ROOT, OsStr::new(name), 0o444, options, Existing::Refuse)
            .unwrap();
        assert!(
            mark(&fixture, name).unwrap().starts_with("1 open"),
            "a power cut now leaves a name with a mark"
        );
        assert_eq!(
            made.entry.metadata.mode, 0o444,
            "also of a photo that is created read-only"
        );
        fixture
            .tree
            .write(made.handle, 0, b"photo", Writer::Unknown)
            .unwrap();
        fixture.tree.close(made.handle);
        assert!(mark(&fixture, name).unwrap().starts_with("1 closed"));
    }
}

#[test]
fn a_file_synced_before_its_close_is_complete_after_any_power_cut() {
    let fixture = Fixture::new();
    let made = fixture.create(ROOT, "a.jpg");
    fixture
        .tree
        .write(made.handle, 0, b"photo", Writer::Unknown)
        .unwrap();
    fixture.tree.sync(made.handle, SyncScope::Data).unwrap();
    assert!(
        mark(&fixture, "a.jpg").unwrap().starts_with("1 open"),
        "not closed yet"
    );
    fixture.tree.flush(made.handle, LockOwner(1)).unwrap();
    assert_eq!(mark(&fixture, "a.jpg"), None);
    fixture
        .tree
        .write(made.handle, 5, b"more", Writer::Unknown)
        .unwrap();
    fixture.tree.flush(made.handle, LockOwner(1)).unwrap();
    assert!(
        mark(&fixture, "a.jpg").unwrap().starts_with("1 closed"),
        "the rest was not synced"
    );
}

#[test]
fn a_sync_of_one_writer_does_not_cover_another() {
    let fixture = Fixture::new();
    let (one, two) = (
        fixture.create(ROOT, "a.jpg").handle,
        fixture.create(ROOT, "a.jpg").handle,
    );
    fixture.tree.write(one, 0, b"one", Writer::Unknown).unwrap();
    fixture.tree.write(two, 3, b"two", Writer::Unknown).unwrap();
    fixture.tree.flush(one, LockOwner(1)).unwrap();
    fixture.tree.sync(two, SyncScope::All).unwrap();
    fixture.tree.flush(two, LockOwner(1)).unwrap();
    assert!(mark(&fixture, "a.jpg").unwrap().starts_with("1 closed"));
}

#[test]
fn half_a_photo_keeps_its_mark_when_the_mount_ends() {
    let fixture = Fixture::new();
    let (half, whole) = (
        fixture.create(ROOT, "half.jpg").handle,
        fixture.create(ROOT, "whole.jpg").handle,
    );
    fixture
        .tree
        .write(half, 0, b"pho", Writer::Unknown)
        .unwrap();
    fixture
        .tree
        .write(whole, 0, b"photo", Writer::Unknown)
        .unwrap();
    fixture.tree.flush(whole, LockOwner(1)).unwrap();
    fixture.tree.close_all();
    assert!(mark(&fixture, "half.jpg").unwrap().starts_with("1 open"));
    assert!(mark(&fixture, "whole.jpg").unwrap().starts_with("1 closed"));
    assert_eq!(fixture.listener.writers.load(Ordering::SeqCst), 0);
}
