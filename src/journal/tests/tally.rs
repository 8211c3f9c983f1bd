//! The counts in memory agree with the disk.

use std::collections::HashSet;

use fastrand::Rng;
use redb::ReadableTableMetadata as _;

use super::disk::Disk;
use super::*;
use crate::journal::FileId;
use crate::journal::error::QueryError;
use crate::journal::schema::QUEUE;

#[test]
fn the_tally_agrees_with_a_recount_whatever_happens() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let disk = Disk::formatted();
    for _life in 0..5 {
        let journal = disk.journal();
        for _ in 0..60 {
            anything(&journal, &mut random).unwrap();
            assert_eq!(journal.tally(), recount(&journal));
            let queued = journal.pending(usize::MAX, 0, &HashSet::new()).unwrap();
            assert_eq!(queued.len() as u64, journal.tally().pending.files);
            // Nothing else is in the queue either: what `pending` passes over would pile up.
            let places = journal
                .database
                .read(|journal| Ok(journal.open_table(QUEUE)?.len()?))
                .unwrap();
            assert_eq!(places, journal.tally().pending.files);
            let names = journal.queued_names(usize::MAX).unwrap();
            assert_eq!(names.len() as u64, journal.names_queued());
        }
    }
}

#[test]
fn opening_uses_the_stored_counts_and_reads_no_file() {
    let disk = Disk::formatted();
    let journal = disk.journal();
    journal.record((0..50).map(pending).collect()).unwrap();
    let counted = journal.tally();
    // It would not be counted, if it were read.
    journal
        .write(|tables| tables.spoil(FileId(7)).map_err(QueryError::Storage))
        .unwrap();
    journal.close().unwrap();
    assert_eq!(disk.journal().tally(), counted);
}

#[test]
fn wrong_stored_counts_are_counted_again() {
    let disk = Disk::formatted();
    let journal = disk.journal();
    journal.record((0..50).map(pending).collect()).unwrap();
    let counted = journal.tally();
    // As a program would that knows of no counts: the files change, and they do not.
    journal
        .write(|tables| {
            tables.miscount();
            Ok(())
        })
        .unwrap();
    assert_ne!(journal.tally(), counted);
    journal.close().unwrap();
    assert_eq!(disk.journal().tally(), counted);
}
