//! A journal that was altered behind our back, on a real file.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::*;
use crate::journal::*;

/// A closed journal of some files.
fn house() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let journal = Journal::open(&path).unwrap();
    journal.record((0..500).map(pending).collect()).unwrap();
    drop(journal);
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_damaged_journal_is_moved_aside_and_a_new_one_begun() {
    let (folder, path) = house();
    let sound = fs::read(&path).unwrap();
    let foreign = folder.path().join("foreign");
    let database = Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("files")).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    database.close().unwrap();

    let no_database = b"this is no database".repeat(500);
    let damaged = [no_database, sound[..sound.len() / 2].to_vec(), sound[..100].to_vec(), fs::read(&foreign).unwrap()];
    fs::remove_file(&foreign).unwrap();
    for (index, content) in damaged.iter().enumerate() {
        fs::write(&path, content).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.was_rebuilt(), "case {index}");
        assert_eq!(journal.tally(), Tally::default());
        journal.record(vec![pending(1)]).unwrap();
        drop(journal);
        assert!(!Journal::open(&path).unwrap().was_rebuilt());
        // What is no database is left as it was; opening one of other tables has marked it as opened.
        let aside = fs::read(folder.path().join(format!("journal.redb.damaged-{}", index + 1))).unwrap();
        assert_eq!(aside.len(), content.len(), "case {index}");
    }
}

#[test]
fn only_so_many_damaged_journals_are_kept() {
    let (folder, path) = house();
    for number in 0..12 {
        fs::write(&path, format!("damaged {number}")).unwrap();
        assert!(Journal::open(&path).unwrap().was_rebuilt());
    }
    assert_eq!(names(folder.path()).len(), 10);
    assert_eq!(fs::read_to_string(folder.path().join("journal.redb.damaged-9")).unwrap(), "damaged 11");
}

#[test]
fn no_altered_byte_makes_it_panic() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let (_folder, path) = house();
    let sound = fs::read(&path).unwrap();
    for _ in 0..60 {
        let mut altered = sound.clone();
        for _ in 0..random.usize(1..40) {
            let at = random.usize(..altered.len());
            altered[at] = random.u8(..);
        }
        fs::write(&path, altered).unwrap();
        let journal = Journal::open(&path).unwrap();
        // Errors are fine, and so is what the bytes now say; a panic or a hang is not.
        let mut errors = Vec::new();
        errors.extend(journal.files_after(None, usize::MAX).err());
        errors.extend(journal.pending(100, 100, &HashSet::new()).err());
        errors.extend(journal.record(vec![pending(7), pending(1000)]).err());
        errors.extend(journal.settle(vec![delivered(3)]).err());
        errors.extend(journal.queued_names(10).err());
        errors.extend(journal.close().err());
        drop(journal);

        let journal = Journal::open(&path).unwrap();
        let damaged = errors.iter().any(|error| matches!(error, JournalError::Damaged));
        assert!(journal.was_rebuilt() || !damaged, "{errors:?}");
        if damaged {
            journal.record(vec![pending(1)]).unwrap();
        }
    }
}

#[test]
fn what_a_crash_left_of_a_new_journal_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    fs::write(folder.path().join("journal.redb.new"), "half").unwrap();
    assert!(!Journal::open(&path).unwrap().was_rebuilt());
    assert_eq!(names(folder.path()), ["journal.redb"]);
}

#[test]
fn a_journal_is_open_once_only() {
    let (_folder, path) = house();
    let journal = Journal::open(&path).unwrap();
    // redb's locks belong to the open file, not to the process: a second process fares the same.
    let refused = Journal::open(&path).unwrap_err();
    assert!(matches!(refused, JournalError::InUse { .. }), "{refused:?}");
    journal.record(vec![pending(1)]).unwrap();
    drop(journal);
    Journal::open(&path).unwrap();
}

#[test]
fn a_journal_that_may_not_be_read_is_not_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    fs::create_dir(&path).unwrap();
    let refused = Journal::open(&path).unwrap_err();
    assert!(matches!(refused, JournalError::Open { .. }), "{refused:?}");
    assert_eq!(names(folder.path()), ["journal.redb"]);
}
