//! Power cuts and failing disks.

use fastrand::Rng;

use super::disk::Disk;
use super::*;
use crate::journal::*;

/// Power cuts tried after each step, each with other losses.
const CUTS_PER_STEP: usize = 2;

#[test]
fn no_promise_is_lost_to_a_power_cut() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let disk = Disk::formatted();
    let journal = disk.journal();
    // After so many steps of the disk, this was acknowledged.
    let mut acknowledged = vec![(0, snapshot(&journal))];
    for _ in 0..30 {
        anything(&journal, &mut random).unwrap();
        acknowledged.push((disk.steps(), snapshot(&journal)));
    }
    drop(journal);

    for cut in 0..=disk.steps() {
        for _ in 0..CUTS_PER_STEP {
            let found = snapshot(&disk.cut_after(cut, &mut random).journal());
            let known = acknowledged.partition_point(|(steps, _)| *steps <= cut);
            // A write in progress may be there, completely or not at all.
            let allowed = acknowledged[known - 1..].iter().take(2);
            assert!(
                allowed.map(|(_, state)| state).any(|state| *state == found),
                "cut after {cut}: {found:#?}"
            );
        }
    }
}

#[test]
fn a_disk_error_fails_only_the_writes_that_met_it() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    for fails_after in 0.. {
        let disk = Disk::formatted();
        let journal = disk.journal();
        journal.record(vec![pending(1)]).unwrap();
        disk.fail_after(fails_after);
        let met = journal.record(vec![pending(2)]);
        if disk.is_about_to_fail() {
            assert!(fails_after > 3, "a commit writes and syncs");
            break;
        }
        if let Err(error) = &met {
            assert!(
                matches!(error, JournalError::Write(_)) && error.is_transient(),
                "{error:?}"
            );
        }
        journal
            .record(vec![pending(3)])
            .unwrap_or_else(|error| panic!("after {fails_after}: {error:?}"));
        assert_eq!(journal.tally(), recount(&journal));

        let after = disk.cut_after(disk.steps(), &mut random).journal();
        let found = ids(&after.files_after(None, 9).unwrap());
        assert!(
            found == [1, 2, 3] || (met.is_err() && found == [1, 3]),
            "{fails_after}: {met:?}, but {found:?}"
        );
        assert_eq!(after.tally(), recount(&after));
    }
}

#[test]
fn a_journal_that_cannot_be_reopened_is_reopened_by_the_next_access() {
    let disk = Disk::formatted();
    let journal = disk.journal();
    journal.record(vec![pending(1)]).unwrap();
    disk.fail_always();
    assert!(journal.record(vec![pending(2)]).is_err());
    assert!(journal.record(vec![pending(2)]).is_err());
    disk.heal();
    assert_eq!(journal.file(FileId(1)).unwrap(), Some(pending(1).1));
    journal.record(vec![pending(3)]).unwrap();
    assert_eq!(journal.tally(), recount(&journal));
}
