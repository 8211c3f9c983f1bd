//! A journal on a disk that fails: nothing is claimed that is not so, nothing is lost, and work
//! goes on when the disk is well again.

use super::*;
use crate::journal::tests::disk::Disk;

/// A house whose journal lies on a disk of its own, and that disk.
fn house_on_disk() -> (House, Disk) {
    let (mut house, disk) = (House::new(), Disk::formatted());
    house.kill();
    house.open_on(disk.journal());
    house.settle();
    (house, disk)
}

/// Writes a photo, and waits until its promise could not be written.
fn write_in_vain(house: &House, disk: &Disk, name: &str) -> FileId {
    disk.fail_always();
    let before = disk.failures();
    let id = house.write(name, &photo(name));
    house.wait("the journal to fail", |_| disk.failures() > before);
    id
}

#[test]
fn a_photo_is_pending_while_the_journal_fails_and_promised_when_it_is_well_again() {
    let (house, disk) = house_on_disk();
    let id = write_in_vain(&house, &disk, "a.jpg");
    assert_eq!(
        house.intake().status(id, &path("a.jpg")).state,
        BackupState::Pending
    );
    assert!(house.intake().is_busy(), "who waits for it goes on waiting");
    disk.heal();
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("a.jpg")));
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn a_crash_while_the_journal_fails_loses_no_photo() {
    let (mut house, disk) = house_on_disk();
    house.write("before.jpg", &photo("before.jpg"));
    house.settle();
    write_in_vain(&house, &disk, "a.jpg");
    house.kill();
    disk.heal();
    house.open_on(disk.journal());
    house.settle();
    for name in ["before.jpg", "a.jpg"] {
        assert_eq!(house.state(name), pending(&photo(name)), "{name}");
    }
}
