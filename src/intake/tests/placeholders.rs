//! Placeholders: seen for what they are, whatever the journal knows of them.

use super::*;
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

impl House {
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
fn a_placeholder_without_a_journal_is_found_as_that_and_never_queued() {
    let mut house = House::new();
    house.kill();
    let id = house.put_placeholder("a.jpg");
    let hidden = house.put_placeholder(".hidden.jpg");
    house.open();
    house.settle();
    assert_eq!(house.state("a.jpg"), absent());
    let status = house.intake().status(id, &path("a.jpg"));
    assert_eq!(
        (status.state, status.fingerprint),
        (BackupState::Placeholder, Some(Fingerprint::of(AFAR)))
    );
    assert_eq!(
        house.intake().status(hidden, &path(".hidden.jpg")).state,
        BackupState::Placeholder
    );
    assert_eq!(
        house.intake().tally().placeholder,
        Amount {
            files: 2,
            bytes: 1_000_000
        }
    );
    house.nothing_is_queued();
}

#[test]
fn a_placeholder_is_neither_torn_nor_an_image_whatever_happens_to_it() {
    let house = House::new();
    let id = house.put_placeholder("a.jpg");
    let file = fs::File::options()
        .write(true)
        .open(house.place("a.jpg"))
        .unwrap();
    house.spool.marker().mark_open(&file).unwrap();
    house.intake().changed(id, &path("a.jpg"));
    house.settle();
    assert_eq!(house.state("a.jpg"), absent());
    house.rename("a.jpg", "b.part");
    house.settle();
    house.rename("b.part", "c.jpg");
    house.settle();
    assert_eq!(house.state("c.jpg"), absent());
    house.nothing_is_queued();
}

#[test]
fn what_a_crash_kept_from_becoming_a_placeholder_is_looked_at_again() {
    let mut house = House::new();
    let id = house.write("a.jpg", &photo("a"));
    house.settle();
    let record = house.record(id).unwrap();
    let fingerprint = Fingerprint::of(&photo("a"));
    let said = FileRecord {
        state: FileState::Placeholder { fingerprint },
        ..record
    };
    house.journal().record(vec![(id, said)]).unwrap();
    house.kill();
    house.open();
    house.settle();
    assert_eq!(house.state("a.jpg"), FileState::Pending { fingerprint });
}

#[test]
fn a_placeholder_that_was_being_filled_gets_its_time_back() {
    let mut house = House::new();
    house.kill();
    house.put_placeholder("a.jpg");
    let file = fs::File::options()
        .write(true)
        .open(house.place("a.jpg"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 0).unwrap();
    drop(file);
    house.open();
    house.settle();
    assert_eq!(house.state("a.jpg"), absent());
    let (_, stamp) = Spool::identify(&house.spool.open_read(&path("a.jpg")).unwrap()).unwrap();
    assert_eq!(stamp, placeholder().stamp);
}

#[test]
fn a_placeholder_that_somebody_resized_is_reported_and_never_queued() {
    let mut house = House::new();
    house.kill();
    house.put_placeholder("a.jpg");
    fs::File::options()
        .write(true)
        .open(house.place("a.jpg"))
        .unwrap()
        .set_len(10)
        .unwrap();
    house.open();
    house.wait("it to be judged", |house| {
        house.record(house.id("a.jpg")).is_some()
    });
    assert!(
        matches!(house.state("a.jpg"), FileState::Failed { .. }),
        "{:?}",
        house.state("a.jpg")
    );
    house.nothing_is_queued();
}

#[test]
fn a_file_that_became_a_placeholder_while_it_was_read_is_not_believed() {
    let house = House::new();
    let id = house.write("a.jpg", &photo("a"));
    house.settle();
    let (mut notes, now) = (
        super::super::notes::Notes::new(1),
        std::time::Instant::now(),
    );
    assert_eq!(
        notes.find(id, &path("a.jpg"), super::super::notes::Origin::Told, now),
        super::super::notes::Noting::Noted
    );
    let glance = notes.take_due(now + PATIENCE, 1).remove(0);
    let look = super::super::look::Look::open(&house.spool, glance).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(house.place("a.jpg"))
        .unwrap();
    Placeholder::evict_data(&file, Fingerprint::of(AFAR), 0).unwrap();
    let found = look.sync(Fingerprint::of(b"holes"));
    assert!(
        matches!(found, super::super::look::Found::Changed),
        "{found:?}"
    );
}

#[test]
fn names_of_placeholders_are_told_to_the_library() {
    let mut house = House::new();
    house.kill();
    house.put_placeholder("a.jpg");
    house.put_placeholder("b.jpg");
    house.open();
    house.settle();
    house.rename("a.jpg", "c.jpg");
    house.remove("b.jpg");
    house.settle();
    let told = house.empty_outbox();
    assert_eq!(
        told,
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
