//! The table of pending files, under a clock that the test advances.

use super::*;

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

fn name(text: &str, was_renamed: bool) -> CurrentName {
    CurrentName {
        path: path(text),
        was_renamed,
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const A: FileId = FileId(1);
const B: FileId = FileId(2);

#[test]
fn a_file_is_due_once_it_was_quiet_after_a_burst() {
    let (mut pending, start) = (PendingFiles::new(10), Instant::now());
    assert_eq!(pending.opened(A, &path("a.jpg")), Admission::Accepted);
    assert_eq!(pending.next_due(), None);
    assert_eq!(
        pending.closed(A, &path("a.jpg"), start),
        Admission::Accepted
    );
    // Tags, times, tags again: each begins the wait anew.
    for step in 1..=5 {
        let now = start + ms(200 * step);
        assert!(pending.take_due(now, 9).is_empty(), "step {step}");
        assert_eq!(pending.changed(A, &path("a.jpg"), now), Admission::Accepted);
    }
    assert!(pending.take_due(start + ms(1299), 9).is_empty());
    assert_eq!(pending.next_due(), Some(start + ms(1300)));
    assert_eq!(pending.take_due(start + ms(1300), 9).len(), 1);
    assert!(pending.is_unscanned(A), "taken is not scanned yet");
    assert!(
        pending.take_due(start + ms(9000), 9).is_empty(),
        "nothing is taken twice"
    );
}

#[test]
fn a_file_is_not_due_while_it_is_open() {
    let (mut pending, start) = (PendingFiles::new(10), Instant::now());
    for _ in 0..2 {
        let _admitted = pending.opened(A, &path("a.jpg"));
    }
    let _admitted = pending.closed(A, &path("a.jpg"), start);
    let _admitted = pending.changed(A, &path("a.jpg"), start);
    assert!(pending.take_due(start + ms(9000), 9).is_empty());
    let _admitted = pending.closed(A, &path("a.jpg"), start + ms(9000));
    assert_eq!(pending.take_due(start + ms(9300), 9).len(), 1);
}

#[test]
fn a_result_from_before_a_change_is_stale() {
    let (mut pending, start) = (PendingFiles::new(10), Instant::now());
    let _admitted = pending.changed(A, &path("a.jpg"), start);
    let due = pending.take_due(start + QUIET, 9).remove(0);
    assert_eq!(pending.current_name(&due), Some(name("a.jpg", false)));
    let _admitted = pending.changed(A, &path("a.jpg"), start + QUIET);
    assert_eq!(pending.current_name(&due), None);
    for step in [
        NextStep::Done,
        NextStep::Retry(start),
        NextStep::RetryFailed(start),
    ] {
        pending.finish(&due, step);
    }
    assert!(pending.is_unscanned(A), "the newer entry stays");
    assert_eq!(pending.next_due(), Some(start + QUIET + QUIET));
}

#[test]
fn a_new_file_with_a_reused_inode_number_is_another_file() {
    let (mut pending, start) = (PendingFiles::new(10), Instant::now());
    let _admitted = pending.changed(A, &path("a.jpg"), start);
    let due = pending.take_due(start + QUIET, 9).remove(0);
    assert!(pending.remove(A));
    let _admitted = pending.changed(A, &path("b.jpg"), start);
    assert_eq!(pending.current_name(&due), None);
}

#[test]
fn renames_are_applied_and_stale_names_are_not() {
    let (mut pending, start) = (PendingFiles::new(10), Instant::now());
    let _admitted = pending.opened(A, &path("d/.a.part"));
    pending.rename(A, &path("d/a.jpg"));
    pending.rename_folder(&path("d"), &path("e/f"));
    let _admitted = pending.changed(B, &path("dd/b.jpg"), start);
    pending.rename_folder(&path("d"), &path("x"));
    let _admitted = pending.closed(A, &path("d/.a.part"), start);
    let names: Vec<_> = pending
        .take_due(start + QUIET, 9)
        .into_iter()
        .map(|it| it.path)
        .collect();
    assert_eq!(names, [path("e/f/a.jpg"), path("dd/b.jpg")]);
}

#[test]
fn a_file_renamed_there_and_back_was_renamed() {
    let (mut pending, start) = (PendingFiles::new(10), Instant::now());
    let _admitted = pending.changed(A, &path("a.jpg"), start);
    let due = pending.take_due(start + QUIET, 9).remove(0);
    assert_eq!(pending.current_name(&due), Some(name("a.jpg", false)));
    pending.rename(A, &path("b.jpg"));
    pending.rename(A, &path("a.jpg"));
    assert_eq!(pending.current_name(&due), Some(name("a.jpg", true)));
}

#[test]
fn a_discovered_file_is_due_at_once_unless_it_has_an_entry() {
    let (mut pending, start) = (PendingFiles::new(10), Instant::now());
    let _admitted = pending.changed(A, &path("a.jpg"), start);
    let _admitted = pending.discovered(A, &path("old.jpg"), FileOrigin::Reported, start);
    let _admitted = pending.discovered(B, &path("b.jpg"), FileOrigin::Reported, start);
    let due: Vec<_> = pending
        .take_due(start, 9)
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(due, [B]);
    assert_eq!(
        pending.take_due(start + QUIET, 9).remove(0).path,
        path("a.jpg")
    );
}

#[test]
fn too_many_entries_are_dropped_but_never_those_of_open_files() {
    let (mut pending, start) = (PendingFiles::new(3), Instant::now());
    let _admitted = pending.opened(A, &path("a"));
    for id in 2..=3 {
        assert_eq!(
            pending.changed(FileId(id), &path("b"), start),
            Admission::Accepted
        );
    }
    assert_eq!(
        pending.changed(FileId(3), &path("b"), start),
        Admission::Accepted,
        "an existing entry is not a new one"
    );
    assert_eq!(
        pending.changed(FileId(4), &path("c"), start),
        Admission::Overflowed
    );
    assert!(pending.is_unscanned(A) && pending.is_unscanned(FileId(4)) && pending.len() == 2);
    assert_eq!(pending.next_due(), Some(start + QUIET));
}

#[test]
fn a_failed_file_is_due_again_but_keeps_nobody_waiting() {
    let (mut pending, start) = (PendingFiles::new(3), Instant::now());
    let _admitted = pending.changed(A, &path("a"), start);
    let due = pending.take_due(start + QUIET, 1).remove(0);
    pending.finish(&due, NextStep::RetryFailed(start + ms(5000)));
    assert!(!pending.is_unscanned(A) && pending.unscanned().next().is_none());
    pending.make_closed_files_due(start);
    assert_eq!(
        pending.next_due(),
        Some(start + ms(5000)),
        "stopping does not wait for it either"
    );
    let again = pending.take_due(start + ms(5000), 1).remove(0);
    assert_eq!(again.failures, 1);
    assert!(!pending.is_unscanned(A));
    let _admitted = pending.changed(A, &path("a"), start);
    assert!(pending.is_unscanned(A), "a change is a new beginning");
}

#[test]
fn stopping_makes_all_closed_files_due() {
    let (mut pending, start) = (PendingFiles::new(3), Instant::now());
    let _admitted = pending.changed(A, &path("a"), start);
    let _admitted = pending.opened(B, &path("b"));
    pending.make_closed_files_due(start);
    assert_eq!(pending.take_due(start, 9).len(), 1);
}
