//! A journal file that something else modified.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::*;
use crate::journal::*;

/// A closed journal with some files.
fn fixture() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let journal = Journal::open(&path).unwrap();
    journal.record((0..500).map(pending).collect()).unwrap();
    drop(journal);
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_corrupt_journal_is_set_aside_and_a_new_one_created() {
    let (folder, path) = fixture();
    let sound = fs::read(&path).unwrap();
    let foreign = folder.path().join("foreign");
    let database = Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(TableDefinition::<u64, u64>::new("files"))
        .unwrap()
        .insert(1, 1)
        .unwrap();
    transaction.commit().unwrap();
    database.close().unwrap();

    let no_database = b"this is no database".repeat(500);
    let damaged = [
        no_database,
        sound[..sound.len() / 2].to_vec(),
        sound[..100].to_vec(),
        fs::read(&foreign).unwrap(),
    ];
    fs::remove_file(&foreign).unwrap();
    for (index, content) in damaged.iter().enumerate() {
        fs::write(&path, content).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.was_rebuilt(), "case {index}");
        assert_eq!(journal.tally(), Tally::default());
        journal.record(vec![pending(1)]).unwrap();
        drop(journal);
        assert!(!Journal::open(&path).unwrap().was_rebuilt());
        // What is no database is left as it was; opening one of other tables has marked it as
        // opened.
        let corrupt = fs::read(
            folder
                .path()
                .join(format!("journal.redb.damaged-{}", index + 1)),
        )
        .unwrap();
        assert_eq!(corrupt.len(), content.len(), "case {index}");
    }
}

#[test]
fn a_limited_number_of_corrupt_journals_is_kept() {
    let (folder, path) = fixture();
    for number in 0..12 {
        fs::write(&path, format!("damaged {number}")).unwrap();
        assert!(Journal::open(&path).unwrap().was_rebuilt());
    }
    assert_eq!(names(folder.path()).len(), 10);
    assert_eq!(
        fs::read_to_string(folder.path().join("journal.redb.damaged-9")).unwrap(),
        "damaged 11"
    );
}

/// As if the process had ended twice without closing the journal.
fn require_check(path: &Path) {
    fs::write(path.with_extension("redb.doubt"), "2").unwrap();
}

#[test]
fn a_checked_open_notices_every_altered_byte() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let (_folder, path) = fixture();
    let sound = fs::read(&path).unwrap();
    for _ in 0..60 {
        let mut altered = sound.clone();
        for _ in 0..random.usize(1..40) {
            let at = random.usize(..altered.len());
            altered[at] = random.u8(..);
        }
        fs::write(&path, altered).unwrap();
        require_check(&path);
        let journal = Journal::open(&path).unwrap();
        let files = journal.files_after(None, usize::MAX).unwrap();
        assert_eq!(files.len(), if journal.was_rebuilt() { 0 } else { 500 });
        journal.pending(100, 100, &HashSet::new()).unwrap();
        journal.record(vec![pending(7), pending(1000)]).unwrap();
        journal.finish_uploads(vec![delivered(7)]).unwrap();
        journal.close().unwrap();
    }
}

#[test]
fn after_two_unclean_ends_the_next_open_checks_the_whole_file() {
    let (folder, path) = fixture();
    let counter = folder.path().join("journal.redb.doubt");
    assert!(!counter.exists());
    let mut altered = fs::read(&path).unwrap();
    // The last page in use: of a record, which only a check of all pages or a reader of it meets.
    let names = altered
        .windows(8)
        .rposition(|bytes| bytes == b"2026/IMG")
        .unwrap();
    altered[names] = b'/';
    fs::write(&path, &altered).unwrap();
    for opens in ["1", "2"] {
        let journal = Journal::open(&path).unwrap();
        assert!(!journal.was_rebuilt());
        assert_eq!(fs::read_to_string(&counter).unwrap(), opens);
        // What a kill leaves: the file as it is, and the counter file.
        let (left, count) = (fs::read(&path).unwrap(), fs::read(&counter).unwrap());
        drop(journal);
        fs::write(&path, left).unwrap();
        fs::write(&counter, count).unwrap();
    }
    let journal = Journal::open(&path).unwrap();
    assert!(journal.was_rebuilt());
    journal.close().unwrap();
    assert!(!counter.exists());
}

#[test]
fn corruption_found_in_use_is_an_error_and_the_next_open_checks_the_whole_file() {
    let (folder, path) = fixture();
    let journal = Journal::open(&path).unwrap();
    let met = journal
        .database
        .write(|_| Err(redb::Error::Corrupted("a test says so".to_owned())));
    assert!(matches!(met, Err(JournalError::Corrupt)));
    assert!(matches!(
        journal.file(FileId(1)),
        Err(JournalError::Corrupt)
    ));
    assert!(matches!(
        journal.record(vec![pending(1)]),
        Err(JournalError::Corrupt)
    ));
    journal.close().unwrap();
    assert_eq!(
        fs::read_to_string(folder.path().join("journal.redb.doubt")).unwrap(),
        "2"
    );
    // It was sound all the same, and so is not thrown away.
    let journal = Journal::open(&path).unwrap();
    assert!(!journal.was_rebuilt());
    assert_eq!(journal.tally().pending.files, 500);
}

#[test]
fn a_panic_in_a_change_counts_as_corruption() {
    let (_folder, path) = fixture();
    let journal = Journal::open(&path).unwrap();
    let asked = journal
        .writer
        .submit(|_| -> Result<(), QueryError> { panic!("on purpose, in a test") })
        .unwrap();
    assert!(matches!(asked.wait(), Err(JournalError::Corrupt)));
    assert!(matches!(
        journal.record(vec![pending(1)]),
        Err(JournalError::Corrupt)
    ));
}

#[test]
fn a_table_that_an_older_program_did_not_have_is_created() {
    let (_folder, path) = fixture();
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    assert!(
        transaction
            .delete_table(crate::journal::schema::FAILED)
            .unwrap()
    );
    transaction.commit().unwrap();
    database.close().unwrap();

    let journal = Journal::open(&path).unwrap();
    assert!(!journal.was_rebuilt());
    assert_eq!(journal.failed(9).unwrap(), []);
    assert_eq!(journal.tally().pending.files, 500);
}

#[test]
fn a_half_created_journal_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    fs::write(folder.path().join("journal.redb.new"), "half").unwrap();
    assert!(!Journal::open(&path).unwrap().was_rebuilt());
    assert_eq!(names(folder.path()), ["journal.redb"]);
}

#[test]
fn a_journal_is_opened_by_one_process_only() {
    let (_folder, path) = fixture();
    let journal = Journal::open(&path).unwrap();
    // redb's locks belong to the open file, not to the process: a second process fares the same.
    let refused = Journal::open(&path).unwrap_err();
    assert!(matches!(refused, JournalError::InUse { .. }), "{refused:?}");
    journal.record(vec![pending(1)]).unwrap();
    drop(journal);
    Journal::open(&path).unwrap();
}

#[test]
fn a_journal_without_read_permission_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    fs::create_dir(&path).unwrap();
    let refused = Journal::open(&path).unwrap_err();
    assert!(matches!(refused, JournalError::Open { .. }), "{refused:?}");
    assert_eq!(names(folder.path()), ["journal.redb"]);
}

#[test]
fn a_journal_is_readable_by_its_owner_only() {
    let (folder, _) = fixture();
    for name in names(folder.path()) {
        let mode = fs::metadata(folder.path().join(&name)).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}
