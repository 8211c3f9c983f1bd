//! Truncated photos that have neither a report nor a write state.

use super::*;
use crate::spool::{WriteStateMarker, remove_xattr};

const TRUNCATED: &str =
    "incomplete: file is truncated; copy it again, or run `heirloom retry` to back it up as it is";
const SHORTER: &str = "incomplete: file is shorter than before; copy it again, or run \
                       `heirloom retry` to back it up as it is";

fn failed(why: &str) -> FileState {
    FileState::Failed {
        fingerprint: None,
        why: why.to_owned(),
    }
}

fn cut(content: &str) -> Vec<u8> {
    let whole = photo(content);
    whole[..whole.len() - 3].to_vec()
}

#[test]
fn a_truncated_photo_is_failed_until_its_owner_accepts_it() {
    let mut fixture = Fixture::new();
    fixture.kill();
    fs::write(fixture.place("cut.jpg"), cut("cut")).unwrap();
    fixture.put("whole.jpg");
    for start in 0..2 {
        fixture.open();
        fixture.settle();
        assert_eq!(fixture.state("cut.jpg"), failed(TRUNCATED), "start {start}");
        assert_eq!(fixture.state("whole.jpg"), pending(&photo("whole.jpg")));
        fixture.kill();
    }
    fixture.open();
    assert_eq!(
        fixture
            .intake()
            .retry(&[path("cut.jpg")])
            .unwrap()
            .again
            .files,
        1
    );
    fixture.settle();
    assert_eq!(fixture.state("cut.jpg"), pending(&cut("cut")));
    // And it stays so.
    fixture.kill();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("cut.jpg"), pending(&cut("cut")));
}

#[test]
fn files_that_the_mount_reported_are_taken_as_complete() {
    let mut fixture = Fixture::new();
    fixture.write("reported.jpg", &cut("reported"));
    fixture.settle();
    assert_eq!(fixture.state("reported.jpg"), pending(&cut("reported")));
    // Closed, and not scanned before the process ended: its write state says it is complete.
    fixture.kill();
    fs::write(fixture.place("closed.jpg"), cut("closed")).unwrap();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    marker
        .mark_closed(
            &fs::File::options()
                .write(true)
                .open(fixture.place("closed.jpg"))
                .unwrap(),
        )
        .unwrap();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("closed.jpg"), pending(&cut("closed")));
}

#[test]
fn a_photo_shorter_than_recorded_is_failed_unless_its_format_proves_it_complete() {
    let mut fixture = Fixture::new();
    let codestream = |length| [b"\xff\x0a".as_slice(), &vec![7; length]].concat();
    fixture.write("a.jxl", &codestream(900));
    fixture.write("b.jpg", &photo("a long one"));
    fixture.write("c.jpg", &photo("c"));
    fixture.write("d.jxl", &codestream(800));
    fixture.settle();
    fixture.kill();
    // As left on a disk without attributes; and one that its owner made smaller.
    fs::write(fixture.place("a.jxl"), codestream(700)).unwrap();
    fs::write(fixture.place("b.jpg"), photo("short")).unwrap();
    fs::write(fixture.place("c.jpg"), b"").unwrap();
    fs::write(fixture.place("d.jxl"), codestream(850)).unwrap();
    for start in 0..2 {
        fixture.open();
        fixture.settle();
        assert_eq!(fixture.state("a.jxl"), failed(SHORTER), "start {start}");
        assert_eq!(fixture.state("b.jpg"), pending(&photo("short")));
        assert_eq!(fixture.state("c.jpg"), failed(SHORTER), "start {start}");
        assert_eq!(fixture.state("d.jxl"), pending(&codestream(850)));
        fixture.kill();
    }
    fixture.open();
    assert_eq!(fixture.intake().retry(&[]).unwrap().again.files, 2);
    fixture.settle();
    assert_eq!(fixture.state("a.jxl"), pending(&codestream(700)));
    assert_eq!(fixture.state("c.jpg"), local("empty file"));
}

/// A photo that is failed because it is truncated.
fn fixture_with_a_truncated_photo() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.kill();
    fs::write(fixture.place("cut.jpg"), cut("cut")).unwrap();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("cut.jpg"), failed(TRUNCATED));
    fixture
}

#[test]
fn a_photo_cannot_be_accepted_while_it_is_written() {
    let fixture = fixture_with_a_truncated_photo();
    fixture
        .intake()
        .opened_for_write(fixture.id("cut.jpg"), &path("cut.jpg"));
    let retried = fixture.intake().retry(&[]).unwrap();
    assert!(
        matches!(retried.refused.as_slice(), [(_, RetryError::InUse)]),
        "{retried:?}"
    );
    assert_eq!(retried.again.files, 0);
}

#[test]
fn accepting_a_photo_does_not_accept_another_in_its_place() {
    let fixture = fixture_with_a_truncated_photo();
    fs::write(fixture.place("other.jpg"), cut("other")).unwrap();
    fs::rename(fixture.place("other.jpg"), fixture.place("cut.jpg")).unwrap();
    let retried = fixture.intake().retry(&[]).unwrap();
    assert!(
        matches!(retried.refused.as_slice(), [(_, RetryError::Moved)]),
        "{retried:?}"
    );
    assert_eq!(retried.again.files, 0);
}

#[test]
fn a_lost_journal_makes_no_photo_incomplete() {
    let mut fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.kill();
    assert!(
        remove_xattr(
            fs::File::open(fixture.place("a.jpg")).unwrap(),
            "user.heirloom.mark".as_ref()
        )
        .is_err()
    );
    fs::remove_file(fixture.journal_file()).unwrap();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("a")));
}
