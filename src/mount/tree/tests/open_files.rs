//! What open files can do, with and without a name.

use super::*;
use crate::spool::WriteState;

const BOTH: OpenOptions = OpenOptions {
    access: Access::ReadWrite,
    durability: Durability::Lazy,
};

#[test]
fn a_removed_file_lives_on_for_who_has_it_open() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"12345");
    let open = house.tree.open(number, BOTH, Truncate::No).unwrap();
    house.tree.remove_file(TOP, OsStr::new("a.jpg")).unwrap();
    assert_eq!(
        house.tree.facts(number, None).unwrap().nlink,
        0,
        "by number"
    );
    let change = Change {
        size: Some(3),
        mode: Some(0o600),
        ..Change::default()
    };
    assert_eq!(house.tree.change(number, None, &change).unwrap().size, 3);
    assert_eq!(
        house
            .tree
            .change(
                number,
                Some(open),
                &Change {
                    size: Some(4),
                    ..Change::default()
                }
            )
            .unwrap()
            .size,
        4
    );
    house.tree.write(open, 4, b"X", Hand::Anybody).unwrap();
    assert_eq!(house.bytes(open), b"123\0X");
    let again = house.tree.open(number, READ, Truncate::No).unwrap();
    assert_eq!(
        house.bytes(again),
        b"123\0X",
        "opened once more through /proc"
    );
    house.tree.sync(open, Extent::All).unwrap();
    house.tree.close(again);
    house.tree.close(open);
    assert_eq!(
        house.notes.take(),
        ["writing a.jpg", "removed a.jpg"],
        "and no end for what is gone"
    );
    assert!(matches!(
        house.tree.facts(number, None),
        Err(TreeError::Removed(_))
    ));
}

#[test]
fn create_honours_exclusive_and_truncate() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"12345");
    let create = |existing| {
        house
            .tree
            .create(TOP, OsStr::new("a.jpg"), 0o600, BOTH, existing)
    };
    assert!(matches!(create(Existing::Refuse), Err(TreeError::Spool(_))));
    let kept = create(Existing::Open(Truncate::No)).unwrap();
    assert_eq!(
        (
            kept.entry.number,
            kept.entry.facts.size,
            kept.entry.facts.mode
        ),
        (number, 5, 0o644)
    );
    let emptied = create(Existing::Open(Truncate::Yes)).unwrap();
    assert_eq!(emptied.entry.facts.size, 0);
    house.tree.close(kept.handle);
    house.tree.close(emptied.handle);
    assert_eq!(
        house.notes.take(),
        [
            "writing a.jpg",
            "writing a.jpg",
            "written a.jpg",
            "written a.jpg"
        ]
    );
}

#[test]
fn a_file_emptied_by_a_reader_is_told() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"12345");
    let open = house.tree.open(number, READ, Truncate::Yes).unwrap();
    assert_eq!(house.tree.facts(number, Some(open)).unwrap().size, 0);
    assert_eq!(house.notes.take(), ["touched a.jpg"]);
}

#[test]
fn holes_are_found_made_and_read_as_zeros() {
    let house = House::new();
    let made = house.create(TOP, "sparse");
    house
        .tree
        .write(made.handle, 1 << 20, b"end", Hand::Anybody)
        .unwrap();
    assert_eq!(
        house
            .tree
            .seek(made.handle, rustix::fs::SeekFrom::Data(0))
            .unwrap(),
        1 << 20
    );
    assert_eq!(
        house
            .tree
            .seek(made.handle, rustix::fs::SeekFrom::Hole(0))
            .unwrap(),
        0
    );
    let facts = house.tree.facts(made.entry.number, None).unwrap();
    assert_eq!(facts.size, (1 << 20) + 3);
    assert!(facts.blocks * 512 < 1 << 20, "{} blocks", facts.blocks);
    house.tree.allocate(made.handle, 0, 2 << 20, 0).unwrap();
    assert_eq!(
        house.tree.facts(made.entry.number, None).unwrap().size,
        2 << 20
    );
}

#[test]
fn bytes_are_copied_inside_the_spool() {
    let house = House::new();
    let from = house.put(TOP, "from", b"0123456789");
    let from = house.tree.open(from, READ, Truncate::No).unwrap();
    let to = house
        .tree
        .create(TOP, OsStr::new("to"), 0o644, BOTH, Existing::Refuse)
        .unwrap()
        .handle;
    assert_eq!(house.tree.copy((from, 2), (to, 1), 5).unwrap(), 5);
    assert_eq!(house.bytes(to), b"\x0023456");
}

#[test]
fn a_closed_handle_is_closed() {
    let house = House::new();
    let made = house.create(TOP, "a.jpg");
    house.tree.close(made.handle);
    house.tree.close(made.handle);
    assert!(matches!(
        house.tree.write(made.handle, 0, b"1", Hand::Anybody),
        Err(TreeError::NotOpen(_))
    ));
    assert!(matches!(
        house.tree.sync(made.handle, Extent::Bytes),
        Err(TreeError::NotOpen(_))
    ));
    assert_eq!(
        house.notes.take(),
        ["writing a.jpg", "written a.jpg"],
        "one end for one beginning"
    );
}

#[test]
fn what_is_open_when_the_mount_ends_ends_too() {
    let house = House::new();
    house.create(TOP, "a.jpg");
    house.tree.close_all();
    assert_eq!(house.notes.take(), ["writing a.jpg", "written a.jpg"]);
}

#[test]
fn the_mark_of_privilege_goes_when_asked() {
    let house = House::new();
    let made = house.create(TOP, "tool");
    let change = Change {
        mode: Some(0o6755),
        ..Change::default()
    };
    house.tree.change(made.entry.number, None, &change).unwrap();
    house.tree.drop_privileges(made.handle).unwrap();
    assert_eq!(
        house.tree.facts(made.entry.number, None).unwrap().mode,
        0o755
    );
}

#[test]
fn many_threads_make_rename_and_remove_without_losing_step() {
    let house = House::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let house = &house;
            scope.spawn(move || {
                let folder = house.folder(TOP, &format!("folder {thread}"));
                for round in 0..100 {
                    let (name, other) = (format!("{round}.part"), format!("{}.jpg", round % 5));
                    let made = house.create(folder, &name);
                    house
                        .tree
                        .write(made.handle, 0, name.as_bytes(), Hand::Anybody)
                        .unwrap();
                    house
                        .tree
                        .rename(
                            (folder, OsStr::new(&name)),
                            (folder, OsStr::new(&other)),
                            Replace::Allow,
                        )
                        .unwrap();
                    house.tree.close(made.handle);
                    let open = house
                        .tree
                        .open(made.entry.number, READ, Truncate::No)
                        .unwrap();
                    assert_eq!(house.bytes(open), name.as_bytes());
                    house.tree.close(open);
                    if round % 3 == 0 {
                        house.tree.remove_file(folder, OsStr::new(&other)).unwrap();
                    }
                    house.tree.forget(made.entry.number, 1);
                }
            });
        }
    });
    assert_eq!(house.notes.writers.load(Ordering::SeqCst), 0);
}

#[test]
fn a_file_is_marked_from_the_first_write_to_the_flush_of_its_last_writer() {
    let house = House::new();
    let soundness = || {
        let file = house
            .spool
            .open_read(&LibraryPath::new("a.jpg").unwrap())
            .unwrap();
        house.spool.marker().write_state(&file).unwrap()
    };
    let number = house.put(TOP, "a.jpg", b"12345");
    let open = || house.tree.open(number, BOTH, Truncate::No).unwrap();
    let (first, second) = (open(), open());
    assert_eq!(soundness(), WriteState::Complete, "opened only");
    house.tree.write(first, 5, b"67", Hand::Anybody).unwrap();
    house.tree.write(second, 7, b"89", Hand::Anybody).unwrap();
    house.tree.flush(first, LockOwner(1)).unwrap();
    assert_eq!(
        soundness(),
        WriteState::Unfinished,
        "the second still writes"
    );
    house.tree.flush(second, LockOwner(1)).unwrap();
    assert_eq!(soundness(), WriteState::Complete);
    house.tree.write(second, 0, b"0", Hand::Anybody).unwrap();
    assert_eq!(
        soundness(),
        WriteState::Unfinished,
        "after one of several closes"
    );
    house.tree.close(second);
    house.tree.close(first);
    assert_eq!(soundness(), WriteState::Complete);
    assert_eq!(
        house.tree.marks.len(),
        0,
        "nothing is kept of what is closed"
    );
}

#[test]
fn what_a_mapping_had_under_way_when_its_file_was_emptied_is_dropped() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"0123456789");
    let mapped = house.tree.open(number, BOTH, Truncate::No).unwrap();
    assert_eq!(
        house.tree.write_back(mapped, 8, b"ABCD").unwrap(),
        4,
        "its end is cut off, and nobody minds"
    );
    assert_eq!(house.bytes(mapped), b"01234567AB");
    let emptied = house.tree.open(number, BOTH, Truncate::Yes).unwrap();
    assert_eq!(house.tree.write_back(mapped, 4, b"late").unwrap(), 4);
    assert_eq!(house.bytes(emptied), b"");
}

#[test]
fn a_close_by_somebody_who_only_inherited_the_descriptor_ends_nothing() {
    let house = House::new();
    let (writer, other, child) = (LockOwner(1), LockOwner(2), LockOwner(3));
    let made = house.create(TOP, "a.jpg");
    let is_whole = || mark(&house, "a.jpg").unwrap().starts_with("1 closed");
    house
        .tree
        .write(made.handle, 0, b"pho", Hand::Of(writer))
        .unwrap();
    house
        .tree
        .write(made.handle, 3, b"to", Hand::Of(other))
        .unwrap();
    house.tree.flush(made.handle, child).unwrap();
    assert!(!is_whole(), "both still write");
    house.tree.flush(made.handle, writer).unwrap();
    assert!(!is_whole(), "one still writes");
    house.tree.flush(made.handle, other).unwrap();
    assert!(is_whole());
    house
        .tree
        .write(made.handle, 5, b"!", Hand::Of(writer))
        .unwrap();
    house.tree.close(made.handle);
    assert!(is_whole(), "nobody has it any more, whoever closed it last");
}

#[test]
fn a_change_by_nobody_known_ends_with_any_close() {
    let house = House::new();
    let made = house.create(TOP, "a.jpg");
    house.tree.allocate(made.handle, 0, 5, 0).unwrap();
    house.tree.flush(made.handle, LockOwner(1)).unwrap();
    assert!(mark(&house, "a.jpg").unwrap().starts_with("1 closed"));
}

/// The mark of a file, as the disk has it.
fn mark(house: &House, name: &str) -> Option<String> {
    let mark = spool::xattr(
        house
            .spool
            .open_read(&LibraryPath::new(name).unwrap())
            .unwrap(),
        OsStr::new("user.heirloom.mark"),
    );
    mark.ok().map(|mark| String::from_utf8(mark).unwrap())
}

#[test]
fn a_new_file_has_its_mark_before_its_first_byte() {
    let house = House::new();
    let synced = OpenOptions {
        access: Access::Write,
        durability: Durability::All,
    };
    for (name, opening) in [("plain.jpg", WRITE), ("synced.jpg", synced)] {
        let made = house
            .tree
            .create(TOP, OsStr::new(name), 0o444, opening, Existing::Refuse)
            .unwrap();
        assert!(
            mark(&house, name).unwrap().starts_with("1 open"),
            "a power cut now leaves a name, and says so"
        );
        assert_eq!(
            made.entry.facts.mode, 0o444,
            "also of a photo that only its maker may write"
        );
        house
            .tree
            .write(made.handle, 0, b"photo", Hand::Anybody)
            .unwrap();
        house.tree.close(made.handle);
        assert!(mark(&house, name).unwrap().starts_with("1 closed"));
    }
}

#[test]
fn what_was_synced_before_its_close_is_whole_after_any_power_cut() {
    let house = House::new();
    let made = house.create(TOP, "a.jpg");
    house
        .tree
        .write(made.handle, 0, b"photo", Hand::Anybody)
        .unwrap();
    house.tree.sync(made.handle, Extent::Bytes).unwrap();
    assert!(
        mark(&house, "a.jpg").unwrap().starts_with("1 open"),
        "not closed yet"
    );
    house.tree.flush(made.handle, LockOwner(1)).unwrap();
    assert_eq!(mark(&house, "a.jpg"), None);
    house
        .tree
        .write(made.handle, 5, b"more", Hand::Anybody)
        .unwrap();
    house.tree.flush(made.handle, LockOwner(1)).unwrap();
    assert!(
        mark(&house, "a.jpg").unwrap().starts_with("1 closed"),
        "the rest was not synced"
    );
}

#[test]
fn a_sync_of_one_writer_does_not_vouch_for_another() {
    let house = House::new();
    let (one, two) = (
        house.create(TOP, "a.jpg").handle,
        house.create(TOP, "a.jpg").handle,
    );
    house.tree.write(one, 0, b"one", Hand::Anybody).unwrap();
    house.tree.write(two, 3, b"two", Hand::Anybody).unwrap();
    house.tree.flush(one, LockOwner(1)).unwrap();
    house.tree.sync(two, Extent::All).unwrap();
    house.tree.flush(two, LockOwner(1)).unwrap();
    assert!(mark(&house, "a.jpg").unwrap().starts_with("1 closed"));
}

#[test]
fn half_a_photo_keeps_its_mark_when_the_mount_ends() {
    let house = House::new();
    let (half, whole) = (
        house.create(TOP, "half.jpg").handle,
        house.create(TOP, "whole.jpg").handle,
    );
    house.tree.write(half, 0, b"pho", Hand::Anybody).unwrap();
    house.tree.write(whole, 0, b"photo", Hand::Anybody).unwrap();
    house.tree.flush(whole, LockOwner(1)).unwrap();
    house.tree.close_all();
    assert!(mark(&house, "half.jpg").unwrap().starts_with("1 open"));
    assert!(mark(&house, "whole.jpg").unwrap().starts_with("1 closed"));
    assert_eq!(house.notes.writers.load(Ordering::SeqCst), 0);
}
