//! Decisions after a scan, as plain values: no disk, no journal, no clock.

use std::io;
use std::time::Instant;

use super::*;
use crate::intake::disposition::{JournalUpdate, decide};
use crate::intake::queue::{CurrentName, DueFile, FileOrigin, NextStep, PendingFiles, QUIET};
use crate::intake::scan::ScanOutcome;
use crate::journal::Stamp;

const ID: FileId = FileId(1);
const STAMP: Stamp = Stamp {
    size: 3,
    mtime_ns: 7,
};

fn due(start: Instant) -> DueFile {
    let mut pending = PendingFiles::new(1);
    let path = path("a.jpg");
    assert_eq!(
        pending.discovered(ID, &path, FileOrigin::Reported, start),
        Admission::Accepted
    );
    pending.take_due(start, 1).remove(0)
}

fn name(text: &str, was_renamed: bool) -> CurrentName {
    CurrentName {
        path: path(text),
        was_renamed,
    }
}

fn record(name: &str, state: FileState) -> FileRecord {
    FileRecord {
        path: path(name),
        stamp: STAMP,
        state,
    }
}

fn complete(content: &[u8]) -> ScanOutcome {
    ScanOutcome::Complete {
        stamp: STAMP,
        fingerprint: Fingerprint::of(content),
    }
}

#[test]
fn a_complete_file_is_recorded_as_pending_under_its_current_name() {
    let (now, mut update) = (Instant::now(), JournalUpdate::default());
    let name = name("b.jpg", true);
    let step = decide(&mut update, &due(now), complete(b"a"), name, None, now);
    assert_eq!(step, NextStep::Done);
    assert_eq!(update.records, [(ID, record("b.jpg", pending(b"a")))]);
    assert_eq!(update.pending(), [(ID, Fingerprint::of(b"a"), 3)]);
}

#[test]
fn a_backed_up_file_with_the_same_bytes_and_time_stays_backed_up() {
    let now = Instant::now();
    for (content, records) in [(b"a", 0), (b"b", 1)] {
        let mut update = JournalUpdate::default();
        let known = Some(record("a.jpg", backed_up(b"a")));
        let name = name("a.jpg", false);
        decide(&mut update, &due(now), complete(content), name, known, now);
        assert_eq!(update.records.len(), records);
    }
}

#[test]
fn a_missing_file_is_looked_for_again_before_it_is_forgotten() {
    let now = Instant::now();
    let known = || Some(record("a.jpg", pending(b"a")));
    let mut due = due(now);
    let decide = |due: &DueFile, was_renamed| {
        let mut update = JournalUpdate::default();
        let name = name("a.jpg", was_renamed);
        let step = decide(&mut update, due, ScanOutcome::NotFound, name, known(), now);
        (step, update.gone)
    };
    assert_eq!(decide(&due, true), (NextStep::Retry(now), vec![]));
    assert_eq!(
        decide(&due, false),
        (NextStep::RetryMissing(now + QUIET), vec![])
    );
    due.was_missing = true;
    assert_eq!(decide(&due, false), (NextStep::Lost, vec![ID]));
}

#[test]
fn only_errors_that_may_pass_are_retried_and_each_time_later() {
    let now = Instant::now();
    let mut due = due(now);
    let mut step = |failures, kind: io::ErrorKind| {
        due.failures = failures;
        let outcome = ScanOutcome::Unreadable {
            stamp: STAMP,
            error: kind.into(),
        };
        let mut update = JournalUpdate::default();
        let step = decide(&mut update, &due, outcome, name("a.jpg", false), None, now);
        assert!(matches!(
            update.records[0].1.state,
            FileState::Failed { .. }
        ));
        step
    };
    let retry = |seconds| NextStep::RetryFailed(now + Duration::from_secs(seconds));
    assert_eq!(step(0, io::ErrorKind::ResourceBusy), retry(1));
    assert_eq!(step(3, io::ErrorKind::ResourceBusy), retry(8));
    assert_eq!(step(99, io::ErrorKind::ResourceBusy), retry(300));
    assert_eq!(step(0, io::ErrorKind::PermissionDenied), NextStep::Done);
}

#[test]
fn a_placeholder_with_another_time_tells_the_library() {
    let (now, mut update) = (Instant::now(), JournalUpdate::default());
    let fingerprint = Fingerprint::of(b"a");
    let known = Some(record("a.jpg", FileState::Placeholder { fingerprint }));
    let stamp = Stamp {
        mtime_ns: 8,
        ..STAMP
    };
    let outcome = ScanOutcome::Placeholder { stamp, fingerprint };
    decide(
        &mut update,
        &due(now),
        outcome,
        name("a.jpg", false),
        known,
        now,
    );
    assert_eq!(
        update.retimed,
        [NameChange::Put {
            path: path("a.jpg"),
            fingerprint,
            mtime_ns: 8
        }]
    );
}
