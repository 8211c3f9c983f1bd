//! Disks that fail, and files that are incomplete.

use std::io;
use std::thread;
use std::time::Instant;

use super::*;
use crate::intake::queue::{DueFile, FileOrigin, QUIET};
use crate::intake::reconcile::Reconciler;
use crate::intake::rename::Renamer;
use crate::intake::scan::{FileScan, ScanOutcome};
use crate::intake::worker::Worker;
use crate::journal::Stamp;
use crate::spool::WriteStateMarker;

/// Reports a file and takes it from the queue as a worker does, before a worker finds it due.
fn due(fixture: &Fixture, name: &str) -> DueFile {
    let (id, path) = (fixture.id(name), path(name));
    let mut state = fixture.intake().context().queue.state();
    assert_eq!(state.pending.opened(id, &path), Admission::Accepted);
    let past = Instant::now().checked_sub(QUIET).unwrap();
    assert_eq!(state.pending.closed(id, &path, past), Admission::Accepted);
    let due = state.pending.take_due(Instant::now(), 1).remove(0);
    assert_eq!(due.id, id);
    due
}

fn put(fixture: &Fixture, name: &str, content: &[u8]) -> (FileId, Stamp) {
    fs::write(fixture.place(name), content).unwrap();
    Spool::identify(&fixture.spool.open_read(&path(name)).unwrap()).unwrap()
}

#[test]
fn a_file_that_cannot_be_read_is_failed_and_retried() {
    let fixture = Fixture::new();
    let (id, stamp) = put(&fixture, "a.jpg", &photo("a"));
    let found = ScanOutcome::Unreadable {
        stamp,
        error: io::Error::from_raw_os_error(libc::EIO),
    };
    Worker::new(fixture.intake().context()).record(vec![(due(&fixture, "a.jpg"), found)]);
    let status = fixture.intake().status(id, &path("a.jpg"));
    assert_eq!(
        (status.state, status.fingerprint),
        (BackupState::Failed, None)
    );
    assert!(
        status
            .why
            .is_some_and(|why| why.contains("Input/output error"))
    );
    assert!(
        !fixture.intake().is_busy(),
        "a failed file does not count as busy"
    );
    assert_eq!(fixture.intake().tally(), fixture.recount());
    // A second later the disk answers again.
    fixture.wait("the second scan", |fixture| {
        fixture.state("a.jpg") == pending(&photo("a"))
    });
}

#[test]
fn a_file_that_could_not_be_stored_is_not_queued_until_it_is_written_again() {
    let mut fixture = Fixture::new();
    let (id, stamp) = put(&fixture, "a.jpg", &photo("a"));
    let error = io::Error::from_raw_os_error(libc::EIO);
    let found = ScanOutcome::NotDurable {
        stamp,
        fingerprint: Fingerprint::of(&photo("a")),
        error,
    };
    Worker::new(fixture.intake().context()).record(vec![(due(&fixture, "a.jpg"), found)]);
    fixture.kill();
    fixture.open();
    fixture.settle();
    assert_eq!(
        fixture.intake().status(id, &path("a.jpg")).state,
        BackupState::Failed
    );
    fixture.write("a.jpg", &photo("again"));
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("again")));
}

#[test]
fn an_incomplete_photo_is_failed_and_never_queued() {
    let mut fixture = Fixture::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    put(&fixture, "a.jpg", &photo("half a pho"));
    marker
        .mark_open(
            &fs::File::options()
                .write(true)
                .open(fixture.place("a.jpg"))
                .unwrap(),
        )
        .unwrap();
    fixture.kill();
    fixture.open();
    fixture.settle();
    let status = fixture.intake().status(fixture.id("a.jpg"), &path("a.jpg"));
    assert_eq!(status.state, BackupState::Failed);
    assert!(status.why.is_some_and(|why| why.contains("copy it again")));
    // Its owner accepts it.
    fixture
        .intake()
        .opened_for_write(fixture.id("a.jpg"), &path("a.jpg"));
    put(&fixture, "a.jpg", &photo("whole"));
    marker
        .mark_closed(
            &fs::File::options()
                .write(true)
                .open(fixture.place("a.jpg"))
                .unwrap(),
        )
        .unwrap();
    fixture
        .intake()
        .closed_after_write(fixture.id("a.jpg"), &path("a.jpg"));
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("whole")));
    let write_states =
        crate::spool::list_xattrs(fs::File::open(fixture.place("a.jpg")).unwrap()).unwrap();
    assert!(
        write_states.is_empty(),
        "durable: the write state is cleared"
    );
}

#[test]
fn an_incomplete_photo_without_any_bytes_is_failed_too() {
    let mut fixture = Fixture::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    for (name, rest) in [("empty.jpg", vec![]), ("zeros.jpg", vec![0; 4096])] {
        put(&fixture, name, &rest);
        marker
            .mark_open(
                &fs::File::options()
                    .write(true)
                    .open(fixture.place(name))
                    .unwrap(),
            )
            .unwrap();
    }
    fixture.kill();
    fixture.open();
    fixture.settle();
    for name in ["empty.jpg", "zeros.jpg"] {
        assert_eq!(
            fixture.intake().status(fixture.id(name), &path(name)).state,
            BackupState::Failed,
            "{name}"
        );
    }
}

#[test]
fn a_file_skipped_for_its_content_loses_its_write_state() {
    let fixture = Fixture::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    let id = put(&fixture, "notes.txt", b"notes").0;
    marker
        .mark_closed(
            &fs::File::options()
                .write(true)
                .open(fixture.place("notes.txt"))
                .unwrap(),
        )
        .unwrap();
    fixture.intake().changed(id, &path("notes.txt"));
    fixture.settle();
    assert_eq!(fixture.state("notes.txt"), local("not an image"));
    assert!(
        crate::spool::list_xattrs(fs::File::open(fixture.place("notes.txt")).unwrap())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_file_skipped_for_its_name_keeps_its_write_state() {
    let fixture = Fixture::new();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    let id = put(&fixture, ".a.jpg", &photo("a")).0;
    let file = fs::File::options()
        .write(true)
        .open(fixture.place(".a.jpg"))
        .unwrap();
    marker.mark_closed(&file).unwrap();
    fixture.intake().changed(id, &path(".a.jpg"));
    fixture.settle();
    assert_eq!(fixture.state(".a.jpg"), local("hidden file"));
    assert!(marker.is_marked(&file).unwrap(), "it is not durable yet");
}

#[test]
fn a_file_that_a_program_can_still_write_is_not_queued() {
    let fixture = Fixture::new();
    let id = put(&fixture, "a.jpg", &photo("a")).0;
    let mapped = fs::File::options()
        .write(true)
        .open(fixture.place("a.jpg"))
        .unwrap();
    fixture
        .spool
        .marker()
        .mark_open_passthrough(&mapped)
        .unwrap();
    let due = due(&fixture, "a.jpg");
    let found = Worker::new(fixture.intake().context()).scan(vec![due.clone()], &mut Vec::new());
    assert!(
        matches!(found.as_slice(), [(_, ScanOutcome::Changed)]),
        "{found:?}"
    );
    drop(mapped);
    let found = Worker::new(fixture.intake().context()).scan(vec![due], &mut Vec::new());
    assert!(
        matches!(found.as_slice(), [(_, ScanOutcome::Complete { .. })]),
        "{found:?}"
    );
    assert_eq!(fixture.id("a.jpg"), id);
}

#[test]
fn a_file_that_replaced_a_reported_one_is_not_taken_for_it() {
    let fixture = Fixture::new();
    put(&fixture, "a.jpg", &photo("a"));
    let due = due(&fixture, "a.jpg");
    put(&fixture, "b.jpg", &photo("b"));
    fs::rename(fixture.place("b.jpg"), fixture.place("a.jpg")).unwrap();
    let found = Worker::new(fixture.intake().context()).scan(vec![due], &mut Vec::new());
    assert!(
        matches!(found.as_slice(), [(_, ScanOutcome::NotFound)]),
        "{found:?}"
    );
}

#[test]
fn the_write_state_of_a_file_that_was_opened_again_is_not_cleared() {
    let fixture = Fixture::new();
    put(&fixture, "a.jpg", &photo("a"));
    let due = due(&fixture, "a.jpg");
    let fixture = &fixture;
    let queue = &fixture.intake().context().queue;
    let id = due.id;
    let (reported, was_reported) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let order = queue.change_unless_modified(&due, || {
            scope.spawn(move || {
                fixture.intake().opened_for_write(id, &path("a.jpg"));
                reported.send(()).unwrap();
            });
            // The writer's report waits for this closure, which only waits to see that.
            was_reported.recv_timeout(Duration::from_millis(50))
        });
        assert!(order.is_some_and(|reported| reported.is_err()));
    });
    assert_eq!(was_reported.recv_timeout(PATIENCE), Ok(()));
    assert_eq!(
        queue.change_unless_modified(&due, || ()),
        None,
        "opened again"
    );
    fixture.intake().closed_after_write(id, &path("a.jpg"));
    fixture.settle();
}

#[test]
fn a_result_from_before_a_change_is_not_recorded() {
    let fixture = Fixture::new();
    let (id, stamp) = put(&fixture, "a.jpg", &photo("before"));
    let due = due(&fixture, "a.jpg");
    fixture.write("a.jpg", &photo("after"));
    let found = ScanOutcome::Complete {
        stamp,
        fingerprint: Fingerprint::of(&photo("before")),
    };
    Worker::new(fixture.intake().context()).record(vec![(due, found)]);
    assert_eq!(fixture.record(id), None);
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("after")));
}

#[test]
fn a_symbolic_link_is_never_followed() {
    let fixture = Fixture::new();
    let outside = fixture.directory.path().join("secret.jpg");
    fs::write(&outside, photo("secret")).unwrap();
    let id = fixture.write("a.jpg", &photo("a"));
    fs::remove_file(fixture.place("a.jpg")).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.place("a.jpg")).unwrap();
    fixture.settle();
    assert_eq!(fixture.record(id), None);
    assert_eq!(fixture.journal().tally(), Tally::default());
}

#[test]
fn a_file_changed_outside_the_mount_during_the_scan_is_not_queued() {
    let fixture = Fixture::new();
    put(&fixture, "a.jpg", &photo("before"));
    let due = due(&fixture, "a.jpg");
    let scan = FileScan::open(&fixture.spool, due).unwrap();
    let fingerprint = scan.fingerprint(&mut Vec::new(), || true).unwrap();
    assert!(matches!(
        scan.sync(fingerprint),
        ScanOutcome::Complete { .. }
    ));
    put(&fixture, "a.jpg", &photo("after, and longer"));
    assert!(matches!(scan.sync(fingerprint), ScanOutcome::Changed));
    assert!(matches!(
        scan.fingerprint(&mut Vec::new(), || false),
        Err(ScanOutcome::Interrupted)
    ));
}

#[test]
fn a_file_that_came_after_the_walk_is_not_forgotten() {
    let fixture = Fixture::new();
    let id = fixture.write("a.jpg", &photo("a"));
    let gone = fixture.write("b.jpg", &photo("b"));
    fixture.settle();
    fs::remove_file(fixture.place("b.jpg")).unwrap();
    // The walk found neither: it was past their folder.
    Reconciler::new(fixture.intake().context())
        .forget_unless_found([id, gone].into())
        .unwrap();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("a")));
    assert_eq!(fixture.record(gone), None);
}

/// Without background threads: the first thread that writes to the journal applies the reported
/// events, here the worker.
#[test]
fn reported_renames_are_applied_before_anything_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(&directory.path().join("spool")).unwrap();
    let journal = Arc::new(Journal::open(&directory.path().join("journal.redb")).unwrap());
    let context = IntakeContext::new(
        Box::new(spool.clone()),
        Arc::<Journal>::clone(&journal),
        Box::new(NoDownstream),
        Arc::new(SystemClock),
        Accept::Images,
        PENDING_MAX,
    );
    fs::write(spool.root().join("new.jpg"), photo("new")).unwrap();
    let (id, stamp) = Spool::identify(&spool.open_read(&path("new.jpg")).unwrap()).unwrap();
    // A file of the same number was backed up and is removed; the removal is reported and not
    // applied yet.
    let state = backed_up(&photo("old"));
    context
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
    context.queue.push_event(
        NameEvent::Removed {
            id,
            path: path("old.jpg"),
        },
        |_, _| Admission::Accepted,
    );
    context
        .queue
        .admit(|pending, now| pending.discovered(id, &path("new.jpg"), FileOrigin::Reported, now));
    let batch = context.queue.take_due(1).unwrap();
    let worker = Worker::new(&context);
    worker.record(worker.scan(batch, &mut Vec::new()));
    Renamer::new(&context)
        .catch_up(&mut context.lock_journal())
        .unwrap();
    let record = context.journal.file(id).unwrap().unwrap();
    assert_eq!(
        (record.path, record.state),
        (path("new.jpg"), pending(&photo("new")))
    );
    assert_eq!(
        journal.queued_names(9).unwrap()[0].1,
        NameChange::Remove {
            path: path("old.jpg")
        }
    );
}
