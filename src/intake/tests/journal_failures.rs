//! A journal on a disk that fails: no status is wrong, nothing is lost, and work continues once the
//! disk works again.

use super::*;
use crate::journal::tests::disk::Disk;

/// A fixture whose journal is on a disk of its own, and that disk.
fn fixture_on_disk() -> (Fixture, Disk) {
    let (mut fixture, disk) = (Fixture::new(), Disk::formatted());
    fixture.kill();
    fixture.open_on(disk.journal());
    fixture.settle();
    (fixture, disk)
}

/// Writes a photo, and waits until its record could not be written.
fn write_in_vain(fixture: &Fixture, disk: &Disk, name: &str) -> FileId {
    disk.fail_always();
    let before = disk.failures();
    let id = fixture.write(name, &photo(name));
    fixture.wait("the journal to fail", |_| disk.failures() > before);
    id
}

#[test]
fn a_photo_is_pending_while_the_journal_fails_and_recorded_once_it_works() {
    let (fixture, disk) = fixture_on_disk();
    let id = write_in_vain(&fixture, &disk, "a.jpg");
    assert_eq!(
        fixture.intake().status(id, &path("a.jpg")).state,
        BackupState::Pending
    );
    assert!(
        fixture.intake().is_busy(),
        "who waits for it goes on waiting"
    );
    disk.heal();
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("a.jpg")));
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn a_crash_while_the_journal_fails_loses_no_photo() {
    let (mut fixture, disk) = fixture_on_disk();
    fixture.write("before.jpg", &photo("before.jpg"));
    fixture.settle();
    write_in_vain(&fixture, &disk, "a.jpg");
    fixture.kill();
    disk.heal();
    fixture.open_on(disk.journal());
    fixture.settle();
    for name in ["before.jpg", "a.jpg"] {
        assert_eq!(fixture.state(name), pending(&photo(name)), "{name}");
    }
}
