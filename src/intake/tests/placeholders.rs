//! Placeholders: recognised whatever the journal says of them.

use super::*;
use crate::intake::queue::{FileOrigin, PendingFiles};
use crate::intake::scan::{FileScan, ScanOutcome};
use crate::journal::Stamp;
use crate::spool::Placeholder;

const AFAR: &[u8] = b"a photo far away";

fn placeholder() -> Placeholder {
    let stamp = Stamp {
        size: 500_000,
        mtime_ns: 1_600_000_000_000_000_007,
    };
    Placeholder::new(Fingerprint::of(AFAR), stamp)
}

fn absent() -> FileState {
    FileState::Placeholder {
        fingerprint: Fingerprint::of(AFAR),
    }
}

impl Fixture {
    fn put_placeholder(&self, name: &str) -> FileId {
        self.spool
            .create_placeholder(&path(name), &placeholder())
            .unwrap()
    }

    fn nothing_is_queued(&self) {
        assert_eq!(
            self.journal()
                .pending(9, 9, &std::collections::HashSet::new())
                .unwrap(),
            []
        );
    }
}

#[test]
fn a_placeholder_without_a_journal_is_recognised_and_never_queued() {
    let mut fixture = Fixture::new();
    fixture.kill();
    let id = fixture.put_placeholder("a.jpg");
    let hidden = fixture.put_placeholder(".hidden.jpg");
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), absent());
    let status = fixture.intake().status(id, &path("a.jpg"));
    assert_eq!(
        (status.state, status.fingerprint),
        (BackupState::Placeholder, Some(Fingerprint::of(AFAR)))
    );
    assert_eq!(
        fixture.intake().status(hidden, &path(".hidden.jpg")).state,
        BackupState::Placeholder
    );
    assert_eq!(
        fixture.intake().tally().placeholder,
        Amount {
            files: 2,
            bytes: 1_000_000
        }
    );
    fixture.nothing_is_queued();
}

#[test]
fn a_placeholder_is_neither_incomplete_nor_an_image_whatever_happens_to_it() {
    let fixture = Fixture::new();
    let id = fixture.put_placeholder("a.jpg");
    let file = fs::File::options()
        .write(true)
        .open(fixture.place("a.jpg"))
        .unwrap();
    fixture.spool.marker().mark_open(&file).unwrap();
    fixture.intake().changed(id, &path("a.jpg"));
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), absent());
    fixture.rename("a.jpg", "b.part");
    fixture.settle();
    fixture.rename("b.part", "c.jpg");
    fixture.settle();
    assert_eq!(fixture.state("c.jpg"), absent());
    fixture.nothing_is_queued();
}

#[test]
fn a_file_that_a_crash_kept_from_becoming_a_placeholder_is_scanned_again() {
    let mut fixture = Fixture::new();
    let id = fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    let record = fixture.record(id).unwrap();
    let fingerprint = Fingerprint::of(&photo("a"));
    let said = FileRecord {
        state: FileState::Placeholder { fingerprint },
        ..record
    };
    fixture.journal().record(vec![(id, said)]).unwrap();
    fixture.kill();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), FileState::Pending { fingerprint });
}

#[test]
fn a_placeholder_that_was_being_filled_gets_its_time_back() {
    let mut fixture = Fixture::new();
    fixture.kill();
    fixture.put_placeholder("a.jpg");
    let file = fs::File::options()
        .write(true)
        .open(fixture.place("a.jpg"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 0).unwrap();
    drop(file);
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), absent());
    let (_, stamp) = Spool::identify(&fixture.spool.open_read(&path("a.jpg")).unwrap()).unwrap();
    assert_eq!(stamp, placeholder().stamp);
}

#[test]
fn a_resized_placeholder_is_failed_and_never_queued() {
    let mut fixture = Fixture::new();
    fixture.kill();
    fixture.put_placeholder("a.jpg");
    fs::File::options()
        .write(true)
        .open(fixture.place("a.jpg"))
        .unwrap()
        .set_len(10)
        .unwrap();
    fixture.open();
    fixture.wait("it to be judged", |fixture| {
        fixture.record(fixture.id("a.jpg")).is_some()
    });
    assert!(
        matches!(fixture.state("a.jpg"), FileState::Failed { .. }),
        "{:?}",
        fixture.state("a.jpg")
    );
    fixture.nothing_is_queued();
}

#[test]
fn a_file_that_became_a_placeholder_during_its_scan_has_changed() {
    let fixture = Fixture::new();
    let id = fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    let (mut pending, now) = (PendingFiles::new(1), std::time::Instant::now());
    assert_eq!(
        pending.discovered(id, &path("a.jpg"), FileOrigin::Reported, now),
        Admission::Accepted
    );
    let due = pending.take_due(now + PATIENCE, 1).remove(0);
    let scan = FileScan::open(&fixture.spool, due).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(fixture.place("a.jpg"))
        .unwrap();
    Placeholder::evict_data(&file, Fingerprint::of(AFAR), 0).unwrap();
    let found = scan.sync(Fingerprint::of(b"holes"));
    assert!(matches!(found, ScanOutcome::Changed), "{found:?}");
}

#[test]
fn renames_of_placeholders_reach_the_library() {
    let mut fixture = Fixture::new();
    fixture.kill();
    fixture.put_placeholder("a.jpg");
    fixture.put_placeholder("b.jpg");
    fixture.open();
    fixture.settle();
    fixture.rename("a.jpg", "c.jpg");
    fixture.remove("b.jpg");
    fixture.settle();
    let changes = fixture.empty_outbox();
    assert_eq!(
        changes,
        [
            NameChange::Move {
                from: path("a.jpg"),
                to: path("c.jpg")
            },
            NameChange::Remove {
                path: path("b.jpg")
            }
        ]
    );
}
