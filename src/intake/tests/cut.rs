//! Photos that nobody vouches for, and that end too early.

use super::*;
use crate::spool::remove_xattr;

const END_IS_MISSING: &str =
    "incomplete: its end is missing; copy it again, or `heirloom retry` it as it is";
const SHORTER: &str =
    "incomplete: it is shorter than it was; copy it again, or `heirloom retry` it as it is";

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
fn a_photo_without_its_end_that_was_never_promised_is_flagged_until_its_owner_says_otherwise() {
    let mut house = House::new();
    house.kill();
    fs::write(house.place("cut.jpg"), cut("cut")).unwrap();
    house.put("whole.jpg");
    for start in 0..2 {
        house.open();
        house.settle();
        assert_eq!(
            house.state("cut.jpg"),
            failed(END_IS_MISSING),
            "start {start}"
        );
        assert_eq!(house.state("whole.jpg"), pending(&photo("whole.jpg")));
        house.kill();
    }
    house.open();
    assert_eq!(
        house
            .intake()
            .retry(&[path("cut.jpg")])
            .unwrap()
            .again
            .files,
        1
    );
    house.settle();
    assert_eq!(house.state("cut.jpg"), pending(&cut("cut")));
    // And it stays so.
    house.kill();
    house.open();
    house.settle();
    assert_eq!(house.state("cut.jpg"), pending(&cut("cut")));
}

#[test]
fn whatever_the_mount_tells_of_is_taken_as_it_is() {
    let mut house = House::new();
    house.write("told.jpg", &cut("told"));
    house.settle();
    assert_eq!(house.state("told.jpg"), pending(&cut("told")));
    // Closed, and not looked at before we ended: its mark vouches for it.
    house.kill();
    fs::write(house.place("closed.jpg"), cut("closed")).unwrap();
    let marker = WriteStateMarker::of_this_boot().unwrap();
    marker
        .mark_closed(
            &fs::File::options()
                .write(true)
                .open(house.place("closed.jpg"))
                .unwrap(),
        )
        .unwrap();
    house.open();
    house.settle();
    assert_eq!(house.state("closed.jpg"), pending(&cut("closed")));
}

#[test]
fn a_photo_that_is_shorter_than_it_was_promised_is_flagged_where_its_bytes_do_not_say_better() {
    let mut house = House::new();
    let codestream = |length| [b"\xff\x0a".as_slice(), &vec![7; length]].concat();
    house.write("a.jxl", &codestream(900));
    house.write("b.jpg", &photo("a long one"));
    house.write("c.jpg", &photo("c"));
    house.write("d.jxl", &codestream(800));
    house.settle();
    house.kill();
    // What a disk without attributes might leave; and one that was made smaller by its owner.
    fs::write(house.place("a.jxl"), codestream(700)).unwrap();
    fs::write(house.place("b.jpg"), photo("short")).unwrap();
    fs::write(house.place("c.jpg"), b"").unwrap();
    fs::write(house.place("d.jxl"), codestream(850)).unwrap();
    for start in 0..2 {
        house.open();
        house.settle();
        assert_eq!(house.state("a.jxl"), failed(SHORTER), "start {start}");
        assert_eq!(house.state("b.jpg"), pending(&photo("short")));
        assert_eq!(house.state("c.jpg"), failed(SHORTER), "start {start}");
        assert_eq!(house.state("d.jxl"), pending(&codestream(850)));
        house.kill();
    }
    house.open();
    assert_eq!(house.intake().retry(&[]).unwrap().again.files, 2);
    house.settle();
    assert_eq!(house.state("a.jxl"), pending(&codestream(700)));
    assert_eq!(house.state("c.jpg"), local("empty file"));
}

/// A photo that is failed for want of its end.
fn house_with_a_cut_photo() -> House {
    let mut house = House::new();
    house.kill();
    fs::write(house.place("cut.jpg"), cut("cut")).unwrap();
    house.open();
    house.settle();
    assert_eq!(house.state("cut.jpg"), failed(END_IS_MISSING));
    house
}

#[test]
fn nobody_vouches_for_a_photo_while_it_is_written() {
    let house = house_with_a_cut_photo();
    house
        .intake()
        .opened_for_write(house.id("cut.jpg"), &path("cut.jpg"));
    let retried = house.intake().retry(&[]).unwrap();
    assert!(
        matches!(retried.refused.as_slice(), [(_, RetryError::InUse)]),
        "{retried:?}"
    );
    assert_eq!(retried.again.files, 0);
}

#[test]
fn who_vouches_for_a_photo_vouches_for_no_other_in_its_place() {
    let house = house_with_a_cut_photo();
    fs::write(house.place("other.jpg"), cut("other")).unwrap();
    fs::rename(house.place("other.jpg"), house.place("cut.jpg")).unwrap();
    let retried = house.intake().retry(&[]).unwrap();
    assert!(
        matches!(retried.refused.as_slice(), [(_, RetryError::Moved)]),
        "{retried:?}"
    );
    assert_eq!(retried.again.files, 0);
}

#[test]
fn a_lost_journal_tears_no_photo() {
    let mut house = House::new();
    house.write("a.jpg", &photo("a"));
    house.settle();
    house.kill();
    assert!(
        remove_xattr(
            fs::File::open(house.place("a.jpg")).unwrap(),
            "user.heirloom.mark".as_ref()
        )
        .is_err()
    );
    fs::remove_file(house.journal_file()).unwrap();
    house.open();
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("a")));
}
