//! Disks that fail, files that are torn.

use std::io;
use std::thread;
use std::time::Instant;

use super::*;
use crate::intake::look::Found;
use crate::intake::notes::{Glance, Origin};
use crate::journal::Stamp;

/// Notes a file and takes the note off the desk, as a worker would, long before the file is due.
fn glance(house: &House, name: &str) -> Glance {
    let (id, path) = (house.id(name), path(name));
    let mut state = house.intake().inside().desk.state();
    assert_eq!(state.notes.open(id, &path), Noting::Noted);
    let past = Instant::now().checked_sub(notes::QUIET).unwrap();
    assert_eq!(state.notes.close(id, &path, past), Noting::Noted);
    let glance = state.notes.take_due(Instant::now(), 1).remove(0);
    assert_eq!(glance.id, id);
    glance
}

fn put(house: &House, name: &str, content: &[u8]) -> (FileId, Stamp) {
    fs::write(house.place(name), content).unwrap();
    Spool::identify(&house.spool.open_read(&path(name)).unwrap()).unwrap()
}

#[test]
fn a_file_that_cannot_be_read_says_so_and_is_tried_again() {
    let house = House::new();
    let (id, stamp) = put(&house, "a.jpg", &photo("a"));
    let found = Found::Unreadable {
        stamp,
        error: io::Error::from_raw_os_error(libc::EIO),
    };
    house
        .intake()
        .inside()
        .enter(vec![(glance(&house, "a.jpg"), found)]);
    let status = house.intake().status(id, &path("a.jpg"));
    assert_eq!(
        (status.state, status.fingerprint),
        (BackupState::Failed, None)
    );
    assert!(
        status
            .why
            .is_some_and(|why| why.contains("Input/output error"))
    );
    assert!(!house.intake().is_busy(), "nobody waits for it");
    assert_eq!(house.intake().tally(), house.recount());
    // A second later the disk answers again.
    house.wait("the second look", |house| {
        house.state("a.jpg") == pending(&photo("a"))
    });
}

#[test]
fn a_file_that_could_not_be_stored_is_never_promised_until_it_is_written_again() {
    let mut house = House::new();
    let (id, stamp) = put(&house, "a.jpg", &photo("a"));
    let error = io::Error::from_raw_os_error(libc::EIO);
    let found = Found::NotDurable {
        stamp,
        fingerprint: Fingerprint::of(&photo("a")),
        error,
    };
    house
        .intake()
        .inside()
        .enter(vec![(glance(&house, "a.jpg"), found)]);
    house.kill();
    house.open();
    house.settle();
    assert_eq!(
        house.intake().status(id, &path("a.jpg")).state,
        BackupState::Failed
    );
    house.write("a.jpg", &photo("again"));
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("again")));
}

#[test]
fn a_torn_photo_is_flagged_and_never_promised() {
    let mut house = House::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    put(&house, "a.jpg", &photo("half a pho"));
    marker
        .mark_open(
            &fs::File::options()
                .write(true)
                .open(house.place("a.jpg"))
                .unwrap(),
        )
        .unwrap();
    house.kill();
    house.open();
    house.settle();
    let status = house.intake().status(house.id("a.jpg"), &path("a.jpg"));
    assert_eq!(status.state, BackupState::Failed);
    assert!(status.why.is_some_and(|why| why.contains("copy it again")));
    // Its owner does.
    house
        .intake()
        .opened_for_write(house.id("a.jpg"), &path("a.jpg"));
    put(&house, "a.jpg", &photo("whole"));
    marker
        .mark_closed(
            &fs::File::options()
                .write(true)
                .open(house.place("a.jpg"))
                .unwrap(),
        )
        .unwrap();
    house
        .intake()
        .closed_after_write(house.id("a.jpg"), &path("a.jpg"));
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("whole")));
    let marks = crate::spool::list_xattrs(fs::File::open(house.place("a.jpg")).unwrap()).unwrap();
    assert!(marks.is_empty(), "durable: the mark is gone");
}

#[test]
fn a_torn_photo_of_which_nothing_is_left_is_flagged_too() {
    let mut house = House::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    for (name, rest) in [("empty.jpg", vec![]), ("zeros.jpg", vec![0; 4096])] {
        put(&house, name, &rest);
        marker
            .mark_open(
                &fs::File::options()
                    .write(true)
                    .open(house.place(name))
                    .unwrap(),
            )
            .unwrap();
    }
    house.kill();
    house.open();
    house.settle();
    for name in ["empty.jpg", "zeros.jpg"] {
        assert_eq!(
            house.intake().status(house.id(name), &path(name)).state,
            BackupState::Failed,
            "{name}"
        );
    }
}

#[test]
fn what_is_no_photo_keeps_no_mark_for_a_later_start_to_doubt() {
    let house = House::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    let id = put(&house, "notes.txt", b"notes").0;
    marker
        .mark_closed(
            &fs::File::options()
                .write(true)
                .open(house.place("notes.txt"))
                .unwrap(),
        )
        .unwrap();
    house.intake().changed(id, &path("notes.txt"));
    house.settle();
    assert_eq!(house.state("notes.txt"), local("not an image"));
    assert!(
        crate::spool::list_xattrs(fs::File::open(house.place("notes.txt")).unwrap())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_is_left_for_its_name_keeps_its_mark_for_the_next_name() {
    let house = House::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    let id = put(&house, ".a.jpg", &photo("a")).0;
    let file = fs::File::options()
        .write(true)
        .open(house.place(".a.jpg"))
        .unwrap();
    marker.mark_closed(&file).unwrap();
    house.intake().changed(id, &path(".a.jpg"));
    house.settle();
    assert_eq!(house.state(".a.jpg"), local("hidden file"));
    assert!(
        marker.is_marked(&file).unwrap(),
        "nobody has made it durable"
    );
}

#[test]
fn a_file_that_a_program_can_still_write_without_us_is_not_promised() {
    let house = House::new();
    let id = put(&house, "a.jpg", &photo("a")).0;
    let mapped = fs::File::options()
        .write(true)
        .open(house.place("a.jpg"))
        .unwrap();
    house
        .intake()
        .inside()
        .marker
        .mark_open_passthrough(&mapped)
        .unwrap();
    let glance = glance(&house, "a.jpg");
    let found = house
        .intake()
        .inside()
        .look_at(vec![glance.clone()], &mut Vec::new());
    assert!(
        matches!(found.as_slice(), [(_, Found::Changed)]),
        "{found:?}"
    );
    drop(mapped);
    let found = house
        .intake()
        .inside()
        .look_at(vec![glance], &mut Vec::new());
    assert!(
        matches!(found.as_slice(), [(_, Found::Whole { .. })]),
        "{found:?}"
    );
    assert_eq!(house.id("a.jpg"), id);
}

#[test]
fn what_stands_under_a_name_now_is_not_taken_for_what_was_noted_there() {
    let house = House::new();
    put(&house, "a.jpg", &photo("a"));
    let glance = glance(&house, "a.jpg");
    put(&house, "b.jpg", &photo("b"));
    fs::rename(house.place("b.jpg"), house.place("a.jpg")).unwrap();
    let found = house
        .intake()
        .inside()
        .look_at(vec![glance], &mut Vec::new());
    assert!(matches!(found.as_slice(), [(_, Found::Gone)]), "{found:?}");
}

#[test]
fn no_mark_is_taken_off_a_file_that_was_opened_again() {
    let house = House::new();
    put(&house, "a.jpg", &photo("a"));
    let glance = glance(&house, "a.jpg");
    let house = &house;
    let desk = &house.intake().inside().desk;
    let id = glance.id;
    let (noted, was_noted) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let order = desk.seal(&glance, || {
            scope.spawn(move || {
                house.intake().opened_for_write(id, &path("a.jpg"));
                noted.send(()).unwrap();
            });
            // The writer has come; its note waits for us, and we for nothing but to see that.
            was_noted.recv_timeout(Duration::from_millis(50))
        });
        assert!(order.is_some_and(|noted| noted.is_err()));
    });
    assert_eq!(was_noted.recv_timeout(PATIENCE), Ok(()));
    assert_eq!(desk.seal(&glance, || ()), None, "opened again");
    house.intake().closed_after_write(id, &path("a.jpg"));
    house.settle();
}

#[test]
fn what_was_found_before_a_change_is_not_written_down() {
    let house = House::new();
    let (id, stamp) = put(&house, "a.jpg", &photo("before"));
    let glance = glance(&house, "a.jpg");
    house.write("a.jpg", &photo("after"));
    let found = Found::Whole {
        stamp,
        fingerprint: Fingerprint::of(&photo("before")),
    };
    house.intake().inside().enter(vec![(glance, found)]);
    assert_eq!(house.record(id), None);
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("after")));
}

#[test]
fn a_symbolic_link_is_never_followed() {
    let house = House::new();
    let outside = house.directory.path().join("secret.jpg");
    fs::write(&outside, photo("secret")).unwrap();
    let id = house.write("a.jpg", &photo("a"));
    fs::remove_file(house.place("a.jpg")).unwrap();
    std::os::unix::fs::symlink(&outside, house.place("a.jpg")).unwrap();
    house.settle();
    assert_eq!(house.record(id), None);
    assert_eq!(house.journal().tally(), Tally::default());
}

#[test]
fn a_file_changed_behind_the_mount_while_it_was_read_is_not_promised() {
    let house = House::new();
    put(&house, "a.jpg", &photo("before"));
    let glance = glance(&house, "a.jpg");
    let look = look::Look::open(&house.spool, glance).unwrap();
    let fingerprint = look.fingerprint(&mut Vec::new(), || true).unwrap();
    assert!(matches!(look.sync(fingerprint), Found::Whole { .. }));
    put(&house, "a.jpg", &photo("after, and longer"));
    assert!(matches!(look.sync(fingerprint), Found::Changed));
    assert!(matches!(
        look.fingerprint(&mut Vec::new(), || false),
        Err(Found::Interrupted)
    ));
}

#[test]
fn a_file_that_came_after_the_walk_is_not_forgotten() {
    let house = House::new();
    let id = house.write("a.jpg", &photo("a"));
    let gone = house.write("b.jpg", &photo("b"));
    house.settle();
    fs::remove_file(house.place("b.jpg")).unwrap();
    // The walk met neither: it was past their folder.
    house
        .intake()
        .inside()
        .forget_unless_found([id, gone].into())
        .unwrap();
    assert_eq!(house.state("a.jpg"), pending(&photo("a")));
    assert_eq!(house.record(gone), None);
}

/// With no threads but ours: what is told is followed by whoever comes to the journal first, here
/// the worker.
#[test]
fn what_was_told_is_followed_before_anything_is_promised() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(&directory.path().join("spool")).unwrap();
    let journal = Arc::new(Journal::open(&directory.path().join("journal.redb")).unwrap());
    let marker = WriteStateMarker::of_this_boot().unwrap();
    let inside = Inside::new(
        spool.clone(),
        marker,
        journal,
        Box::new(Quiet),
        Accept::Images,
        NOTES_MAX,
    );
    fs::write(spool.root().join("new.jpg"), photo("new")).unwrap();
    let (id, stamp) = Spool::identify(&spool.open_read(&path("new.jpg")).unwrap()).unwrap();
    // A file of the same number was backed up and is removed; the removal is told and not followed
    // yet.
    let state = backed_up(&photo("old"));
    inside
        .journal
        .record(vec![(
            id,
            FileRecord {
                path: path("old.jpg"),
                stamp,
                state,
            },
        )])
        .unwrap();
    inside.desk.tell(
        Telling::Removed {
            id,
            path: path("old.jpg"),
        },
        |_, _| Noting::Noted,
    );
    inside
        .desk
        .note(|notes, now| notes.find(id, &path("new.jpg"), Origin::Told, now));
    let glances = inside.desk.take_due(1).unwrap();
    inside.enter(inside.look_at(glances, &mut Vec::new()));
    inside.catch_up(&mut inside.ledger()).unwrap();
    let record = inside.journal.file(id).unwrap().unwrap();
    assert_eq!(
        (record.path, record.state),
        (path("new.jpg"), pending(&photo("new")))
    );
    assert_eq!(
        inside.journal.queued_names(9).unwrap()[0].1,
        NameChange::Remove {
            path: path("old.jpg")
        }
    );
}
