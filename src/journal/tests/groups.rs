//! Group commit.

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;

use super::disk::Disk;
use super::*;
use crate::journal::*;

#[test]
fn concurrent_requests_are_committed_together() {
    const REQUESTS: u64 = 100;
    let disk = Disk::formatted();
    let journal = disk.journal();
    let before = disk.syncs();
    journal.record(vec![pending(0)]).unwrap();
    let syncs_per_commit = disk.syncs() - before;

    let before = disk.syncs();
    disk.hold_syncs();
    let submit = |number| {
        let (id, file) = pending(number);
        journal
            .writer
            .submit(move |tables| tables.record(id, &file))
            .unwrap()
    };
    let first = submit(1);
    // While the first commit waits for the disk, the other requests gather.
    disk.wait_for_held_sync();
    let others: Vec<_> = (2..REQUESTS).map(submit).collect();
    disk.release_syncs();
    first.wait().unwrap();
    for ticket in others {
        ticket.wait().unwrap();
    }
    // Two commits, of which one may sync once more because the file grew; not a hundred.
    let syncs = disk.syncs() - before;
    assert!(
        syncs <= 2 * syncs_per_commit + 1,
        "{syncs} syncs, where one commit takes {syncs_per_commit}"
    );
    assert_eq!(journal.tally().pending.files, REQUESTS);
}

#[test]
fn every_thread_finds_what_it_wrote() {
    const THREADS: u64 = 16;
    const EACH: u64 = 8;
    let disk = Disk::formatted();
    let journal = disk.journal();
    let start = Barrier::new(usize::try_from(THREADS).unwrap());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (journal, start) = (&journal, &start);
            scope.spawn(move || {
                start.wait();
                for number in thread * EACH..(thread + 1) * EACH {
                    journal.record(vec![pending(number)]).unwrap();
                    assert_eq!(
                        journal.file(FileId(number)).unwrap(),
                        Some(pending(number).1)
                    );
                }
            });
        }
    });
    assert_eq!(journal.tally().pending.files, THREADS * EACH);
    let queued = journal.pending(usize::MAX, 0, &HashSet::new()).unwrap();
    assert_eq!(queued.len(), usize::try_from(THREADS * EACH).unwrap());
}

#[test]
fn every_caller_of_a_failed_group_gets_the_error() {
    let disk = Disk::formatted();
    let journal = disk.journal();
    disk.hold_syncs();
    let submit = |number| {
        let (id, file) = pending(number);
        journal
            .writer
            .submit(move |tables| tables.record(id, &file))
            .unwrap()
    };
    let first = submit(1);
    disk.wait_for_held_sync();
    let others: Vec<_> = (2..10).map(submit).collect();
    // The sync that waits, and with it the first group's commit.
    disk.fail_after(0);
    disk.release_syncs();
    assert!(matches!(first.wait(), Err(JournalError::Write(_))));
    for ticket in others {
        ticket.wait().unwrap();
    }
    assert_eq!(journal.tally(), recount(&journal));
}

#[test]
fn a_failed_request_does_not_fail_its_group() {
    let disk = Disk::formatted();
    let journal = disk.journal();
    journal.record(vec![pending(1)]).unwrap();
    journal
        .database
        .write(|tables| tables.spoil(FileId(1)))
        .unwrap();
    disk.hold_syncs();
    let first = journal
        .writer
        .submit(|tables| tables.record(FileId(2), &pending(2).1))
        .unwrap();
    disk.wait_for_held_sync();
    let refused = journal
        .writer
        .submit(|tables| tables.rename(FileId(1), &path(7)))
        .unwrap();
    let good = journal
        .writer
        .submit(|tables| tables.record(FileId(3), &pending(3).1))
        .unwrap();
    disk.release_syncs();
    first.wait().unwrap();
    let error = refused.wait().unwrap_err();
    assert!(
        matches!(
            &error,
            JournalError::Record {
                source: RecordError::Version(99),
                ..
            }
        ),
        "{error:?}"
    );
    good.wait().unwrap();
    assert_eq!(ids(&journal.files_after(None, 9).unwrap()), [2, 3]);
}

#[test]
fn an_unreadable_record_hides_no_other_and_can_be_replaced() {
    let disk = Disk::formatted();
    let journal = disk.journal();
    journal
        .record(vec![pending(1), pending(2), pending(3)])
        .unwrap();
    journal
        .database
        .write(|tables| tables.spoil(FileId(2)))
        .unwrap();
    drop(journal);
    let journal = disk.journal();
    assert!(matches!(
        journal.file(FileId(2)),
        Err(JournalError::Record { .. })
    ));
    assert_eq!(ids(&journal.files_after(None, 9).unwrap()), [1, 3]);
    assert_eq!(
        ids(&journal.pending(9, 9, &HashSet::new()).unwrap()),
        [3, 1]
    );
    assert_eq!(journal.finish_uploads(vec![delivered(2)]).unwrap(), [false]);
    journal.record(vec![pending(2)]).unwrap();
    assert_eq!(
        ids(&journal.pending(9, 9, &HashSet::new()).unwrap()),
        [2, 3, 1]
    );
    journal.forget(vec![FileId(2)]).unwrap();
    drop(journal);
    // What it was counted for cannot be known before all is counted again.
    let journal = disk.journal();
    assert_eq!(journal.tally(), recount(&journal));
}
