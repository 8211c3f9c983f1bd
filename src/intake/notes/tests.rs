//! Notes under a clock that is pushed by hand.

use super::*;

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const A: FileId = FileId(1);
const B: FileId = FileId(2);

#[test]
fn a_file_is_due_only_when_it_was_quiet_after_a_burst() {
    let (mut notes, start) = (Notes::new(10), Instant::now());
    assert_eq!(notes.open(A, &path("a.jpg")), Noting::Noted);
    assert_eq!(notes.next_due(), None);
    assert_eq!(notes.close(A, &path("a.jpg"), start), Noting::Noted);
    // Tags, times, tags again: each begins the wait anew.
    for step in 1..=5 {
        let now = start + ms(200 * step);
        assert!(notes.take_due(now, 9).is_empty(), "step {step}");
        assert_eq!(notes.touch(A, &path("a.jpg"), now), Noting::Noted);
    }
    assert!(notes.take_due(start + ms(1299), 9).is_empty());
    assert_eq!(notes.next_due(), Some(start + ms(1300)));
    assert_eq!(notes.take_due(start + ms(1300), 9).len(), 1);
    assert!(notes.awaits(A), "taken is not yet looked at");
    assert!(
        notes.take_due(start + ms(9000), 9).is_empty(),
        "nothing is taken twice"
    );
}

#[test]
fn a_file_is_not_due_while_anybody_has_it_open() {
    let (mut notes, start) = (Notes::new(10), Instant::now());
    for _ in 0..2 {
        let _noted = notes.open(A, &path("a.jpg"));
    }
    let _noted = notes.close(A, &path("a.jpg"), start);
    let _noted = notes.touch(A, &path("a.jpg"), start);
    assert!(notes.take_due(start + ms(9000), 9).is_empty());
    let _noted = notes.close(A, &path("a.jpg"), start + ms(9000));
    assert_eq!(notes.take_due(start + ms(9300), 9).len(), 1);
}

#[test]
fn what_was_found_before_a_change_is_stale() {
    let (mut notes, start) = (Notes::new(10), Instant::now());
    let _noted = notes.touch(A, &path("a.jpg"), start);
    let glance = notes.take_due(start + QUIET, 9).remove(0);
    assert_eq!(notes.name_now(&glance), Some(&path("a.jpg")));
    let _noted = notes.touch(A, &path("a.jpg"), start + QUIET);
    assert_eq!(notes.name_now(&glance), None);
    notes.settle(&glance);
    notes.put_back(&glance, start);
    notes.fail(&glance, start);
    assert!(notes.awaits(A), "the newer note stands");
    assert_eq!(notes.next_due(), Some(start + QUIET + QUIET));
}

#[test]
fn a_new_file_with_an_old_number_is_another_file() {
    let (mut notes, start) = (Notes::new(10), Instant::now());
    let _noted = notes.touch(A, &path("a.jpg"), start);
    let glance = notes.take_due(start + QUIET, 9).remove(0);
    assert!(notes.remove(A));
    let _noted = notes.touch(A, &path("b.jpg"), start);
    assert_eq!(notes.name_now(&glance), None);
}

#[test]
fn renames_are_followed_and_stale_names_are_not() {
    let (mut notes, start) = (Notes::new(10), Instant::now());
    let _noted = notes.open(A, &path("d/.a.part"));
    notes.rename(A, &path("d/a.jpg"));
    notes.rename_folder(&path("d"), &path("e/f"));
    let _noted = notes.touch(B, &path("dd/b.jpg"), start);
    notes.rename_folder(&path("d"), &path("x"));
    let _noted = notes.close(A, &path("d/.a.part"), start);
    let names: Vec<_> = notes
        .take_due(start + QUIET, 9)
        .into_iter()
        .map(|it| it.path)
        .collect();
    assert_eq!(names, [path("e/f/a.jpg"), path("dd/b.jpg")]);
}

#[test]
fn a_file_renamed_there_and_back_was_renamed() {
    let (mut notes, start) = (Notes::new(10), Instant::now());
    let _noted = notes.touch(A, &path("a.jpg"), start);
    let glance = notes.take_due(start + QUIET, 9).remove(0);
    assert!(!notes.was_renamed(&glance));
    notes.rename(A, &path("b.jpg"));
    notes.rename(A, &path("a.jpg"));
    assert!(notes.was_renamed(&glance));
    assert_eq!(notes.name_now(&glance), Some(&path("a.jpg")));
}

#[test]
fn a_file_that_was_found_is_due_at_once_unless_it_was_noted() {
    let (mut notes, start) = (Notes::new(10), Instant::now());
    let _noted = notes.touch(A, &path("a.jpg"), start);
    let _noted = notes.find(A, &path("old.jpg"), Origin::Told, start);
    let _noted = notes.find(B, &path("b.jpg"), Origin::Told, start);
    let due: Vec<_> = notes
        .take_due(start, 9)
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(due, [B]);
    assert_eq!(
        notes.take_due(start + QUIET, 9).remove(0).path,
        path("a.jpg")
    );
}

#[test]
fn too_many_notes_are_dropped_but_never_those_of_open_files() {
    let (mut notes, start) = (Notes::new(3), Instant::now());
    let _noted = notes.open(A, &path("a"));
    for id in 2..=3 {
        assert_eq!(notes.touch(FileId(id), &path("b"), start), Noting::Noted);
    }
    assert_eq!(
        notes.touch(FileId(3), &path("b"), start),
        Noting::Noted,
        "an old note is no new one"
    );
    assert_eq!(
        notes.touch(FileId(4), &path("c"), start),
        Noting::Overflowed
    );
    assert!(notes.awaits(A) && notes.awaits(FileId(4)) && notes.len() == 2);
    assert_eq!(notes.next_due(), Some(start + QUIET));
}

#[test]
fn a_file_that_fails_is_due_again_but_nobody_waits_for_it() {
    let (mut notes, start) = (Notes::new(3), Instant::now());
    let _noted = notes.touch(A, &path("a"), start);
    let glance = notes.take_due(start + QUIET, 1).remove(0);
    notes.fail(&glance, start + ms(5000));
    assert!(!notes.awaits(A) && notes.awaiting().next().is_none());
    notes.hasten(start);
    assert_eq!(
        notes.next_due(),
        Some(start + ms(5000)),
        "stopping does not wait for it either"
    );
    let again = notes.take_due(start + ms(5000), 1).remove(0);
    assert_eq!(again.failures, 1);
    assert!(!notes.awaits(A));
    let _noted = notes.touch(A, &path("a"), start);
    assert!(notes.awaits(A), "a change is a new beginning");
}

#[test]
fn stopping_makes_all_closed_files_due() {
    let (mut notes, start) = (Notes::new(3), Instant::now());
    let _noted = notes.touch(A, &path("a"), start);
    let _noted = notes.open(B, &path("b"));
    notes.hasten(start);
    assert_eq!(notes.take_due(start, 9).len(), 1);
}
