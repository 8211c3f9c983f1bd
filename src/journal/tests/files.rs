//! Files, queue, sync list, shard list and outbox, on a real file.

use std::collections::HashSet;
use std::path::PathBuf;

use heirloom_protocol::RangeSet;
use heirloom_protocol::signature::Signature;
use tempfile::TempDir;

use super::*;
use crate::journal::*;

struct Fixture {
    _folder: TempDir,
    path: PathBuf,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    Fixture {
        _folder: folder,
        path,
    }
}

impl Fixture {
    fn open(&self) -> Journal {
        Journal::open(&self.path).unwrap()
    }
}

fn none() -> HashSet<FileId> {
    HashSet::new()
}

#[test]
fn everything_written_is_there_after_reopening() {
    let fixture = fixture();
    let journal = fixture.open();
    journal
        .record(vec![pending(1), pending(2), pending(3), backed_up(4)])
        .unwrap();
    journal.finish_uploads(vec![delivered(2)]).unwrap();
    journal
        .update_names(vec![NameUpdate::Rename {
            id: FileId(3),
            to: path(33),
        }])
        .unwrap();
    journal.add_shard(fingerprint(1), range(0, 10)).unwrap();
    journal.add_shard(fingerprint(1), range(10, 30)).unwrap();
    journal
        .queue_names(vec![NameChange::Remove { path: path(9) }])
        .unwrap();
    journal
        .confirm_names(vec![], vec![(path(4), Some(7))])
        .unwrap();
    let tally = journal.tally();
    drop(journal);

    let journal = fixture.open();
    assert!(!journal.was_rebuilt());
    assert_eq!(journal.tally(), tally);
    assert_eq!(journal.file(FileId(1)).unwrap(), Some(pending(1).1));
    assert_eq!(journal.file(FileId(2)).unwrap(), Some(backed_up(2).1));
    assert_eq!(
        journal.file(FileId(3)).unwrap(),
        Some(FileRecord {
            path: path(33),
            ..pending(3).1
        })
    );
    assert_eq!(ids(&journal.pending(9, 0, &none()).unwrap()), [3, 1]);
    assert_eq!(journal.receipt(fingerprint(2)).unwrap(), Some(receipt(2)));
    assert_eq!(
        journal.shards(fingerprint(1)).unwrap(),
        RangeSet::from(range(0, 30))
    );
    assert_eq!(journal.name_version(&path(4)).unwrap(), Some(7));
    assert_eq!(journal.names_queued(), 2);
    assert_eq!(
        journal.queued_names(9).unwrap(),
        [
            (
                0,
                NameChange::Put {
                    path: path(2),
                    fingerprint: fingerprint(2),
                    mtime_ns: stamp(2).mtime_ns
                }
            ),
            (1, NameChange::Remove { path: path(9) }),
        ]
    );
}

#[test]
fn the_queue_is_read_from_both_ends_without_duplicates() {
    let fixture = fixture();
    let journal = fixture.open();
    journal.record((0..10).map(pending).collect()).unwrap();
    let from = |newest, oldest, except: &[u64]| {
        let except = except.iter().copied().map(FileId).collect();
        ids(&journal.pending(newest, oldest, &except).unwrap())
    };
    assert_eq!(from(3, 2, &[]), [9, 8, 7, 0, 1]);
    assert_eq!(from(3, 2, &[9, 7, 0]), [8, 6, 5, 1, 2]);
    assert_eq!(from(8, 8, &[]), [9, 8, 7, 6, 5, 4, 3, 2, 0, 1]);
    assert_eq!(from(20, 5, &[]), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(from(0, 3, &[]), [0, 1, 2]);
    assert_eq!(from(0, 0, &[]), [0; 0]);
    assert_eq!(from(10, 10, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), [0; 0]);
}

#[test]
fn a_file_recorded_again_is_in_the_queue_once_at_its_newest_end() {
    let fixture = fixture();
    let journal = fixture.open();
    journal.record(vec![pending(1), pending(2)]).unwrap();
    journal.record(vec![pending(1)]).unwrap();
    assert_eq!(ids(&journal.pending(9, 9, &none()).unwrap()), [1, 2]);
    journal
        .record(vec![file(
            1,
            FileState::Local {
                why: "not an image".to_owned(),
            },
        )])
        .unwrap();
    assert_eq!(ids(&journal.pending(9, 9, &none()).unwrap()), [2]);
    journal.forget(vec![FileId(2), FileId(77)]).unwrap();
    assert_eq!(ids(&journal.pending(9, 9, &none()).unwrap()), [0; 0]);
}

#[test]
fn an_upload_finishes_only_the_file_that_was_uploaded() {
    let fixture = fixture();
    let journal = fixture.open();
    journal
        .record(vec![pending(1), pending(2), pending(3), backed_up(4)])
        .unwrap();
    journal.add_shard(fingerprint(1), range(0, 10)).unwrap();
    let mut touched = pending(1);
    touched.1.stamp.mtime_ns += 1;
    let mut rewritten = pending(2);
    rewritten.1.state = FileState::Pending {
        fingerprint: fingerprint(22),
    };
    journal
        .record(vec![touched.clone(), rewritten.clone()])
        .unwrap();

    let answers = journal
        .finish_uploads(vec![
            delivered(1),
            delivered(2),
            delivered(3),
            delivered(4),
            delivered(5),
        ])
        .unwrap();
    assert_eq!(answers, [false, false, true, false, false]);
    assert_eq!(journal.file(FileId(1)).unwrap(), Some(touched.1));
    assert_eq!(journal.file(FileId(2)).unwrap(), Some(rewritten.1));
    assert_eq!(ids(&journal.pending(9, 9, &none()).unwrap()), [2, 1]);
    // The receipt is about the image, not about the file: it holds in any case.
    assert_eq!(journal.receipt(fingerprint(1)).unwrap(), Some(receipt(1)));
    assert!(journal.shards(fingerprint(1)).unwrap().is_empty());
    assert_eq!(journal.names_queued(), 1);
}

#[test]
fn a_state_is_updated_only_if_it_is_the_expected_one() {
    let fixture = fixture();
    let journal = fixture.open();
    journal.record(vec![backed_up(1), pending(2)]).unwrap();
    let (image, stamp) = (fingerprint(1), backed_up(1).1.stamp);
    let (from, to) = (
        FileState::BackedUp { fingerprint: image },
        FileState::Placeholder { fingerprint: image },
    );
    let restated = StateUpdate {
        id: FileId(1),
        stamp,
        from,
        to,
    };
    let wrong = [
        StateUpdate {
            id: FileId(2),
            ..restated.clone()
        },
        StateUpdate {
            id: FileId(3),
            ..restated.clone()
        },
        StateUpdate {
            stamp: Stamp {
                mtime_ns: stamp.mtime_ns + 1,
                ..stamp
            },
            ..restated.clone()
        },
        StateUpdate {
            from: FileState::BackedUp {
                fingerprint: fingerprint(2),
            },
            ..restated.clone()
        },
    ];
    assert_eq!(journal.update_state(wrong.to_vec()).unwrap(), [false; 4]);
    assert_eq!(journal.file(FileId(1)).unwrap(), Some(backed_up(1).1));
    assert_eq!(journal.file(FileId(2)).unwrap(), Some(pending(2).1));
    assert_eq!(
        journal.update_state(vec![restated.clone()]).unwrap(),
        [true]
    );
    assert_eq!(journal.file(FileId(1)).unwrap().unwrap().state, restated.to);
}

#[test]
fn a_receipt_that_is_repeated_without_its_signature_keeps_it() {
    let fixture = fixture();
    let journal = fixture.open();
    let signed = Receipt {
        signature: Some(Signature::from([7; 64])),
        ..receipt(1)
    };
    journal.add_receipts(vec![signed]).unwrap();
    journal.add_receipts(vec![receipt(1)]).unwrap();
    assert_eq!(journal.receipt(fingerprint(1)).unwrap(), Some(signed));
    let other = Receipt {
        stored_at_ms: signed.stored_at_ms + 1,
        ..receipt(1)
    };
    journal.add_receipts(vec![other]).unwrap();
    assert_eq!(
        journal.receipt(fingerprint(1)).unwrap(),
        Some(other),
        "that is another one"
    );
}

#[test]
fn an_image_with_a_receipt_gets_no_shard_list() {
    let fixture = fixture();
    let journal = fixture.open();
    journal.add_receipts(vec![receipt(1)]).unwrap();
    journal.add_shard(fingerprint(1), range(0, 10)).unwrap();
    assert!(journal.shards(fingerprint(1)).unwrap().is_empty());
}

#[test]
fn a_failed_upload_leaves_the_queue_and_says_why() {
    let fixture = fixture();
    let journal = fixture.open();
    journal.record(vec![pending(1)]).unwrap();
    let outcome = UploadOutcome::Failed {
        why: "too large for this server".to_owned(),
    };
    assert_eq!(
        journal
            .finish_uploads(vec![FinishedUpload {
                outcome,
                ..delivered(1)
            }])
            .unwrap(),
        [true]
    );
    let state = FileState::Failed {
        fingerprint: Some(fingerprint(1)),
        why: "too large for this server".to_owned(),
    };
    assert_eq!(journal.file(FileId(1)).unwrap(), Some(file(1, state).1));
    assert_eq!(journal.pending(9, 9, &none()).unwrap(), []);
    assert_eq!(journal.receipt(fingerprint(1)).unwrap(), None);
    assert_eq!(journal.names_queued(), 0);
}

#[test]
fn files_are_paged_by_ascending_id() {
    let fixture = fixture();
    let journal = fixture.open();
    journal
        .record([5, 3, u64::MAX, 9, 1].map(pending).to_vec())
        .unwrap();
    let page = |after: Option<u64>| ids(&journal.files_after(after.map(FileId), 2).unwrap());
    assert_eq!(page(None), [1, 3]);
    assert_eq!(page(Some(3)), [5, 9]);
    assert_eq!(page(Some(9)), [u64::MAX]);
    assert_eq!(page(Some(u64::MAX)), [0; 0]);
}

#[test]
fn a_late_confirmation_removes_nothing_else_from_the_outbox() {
    let fixture = fixture();
    let journal = fixture.open();
    let remove = |number| NameChange::Remove { path: path(number) };
    journal.queue_names(vec![remove(1)]).unwrap();
    journal
        .confirm_names(vec![0], vec![(path(1), None)])
        .unwrap();
    assert_eq!(journal.names_queued(), 0);
    drop(journal);
    let journal = fixture.open();
    journal.queue_names(vec![remove(2)]).unwrap();
    journal.confirm_names(vec![0], vec![]).unwrap();
    assert_eq!(journal.queued_names(9).unwrap(), [(1, remove(2))]);
}

#[test]
fn the_servers_shard_list_replaces_ours() {
    let fixture = fixture();
    let journal = fixture.open();
    journal.add_shard(fingerprint(1), range(0, 100)).unwrap();
    let word = RangeSet::from(range(50, 60));
    journal.replace_shards(fingerprint(1), &word).unwrap();
    assert_eq!(journal.shards(fingerprint(1)).unwrap(), word);
    journal
        .replace_shards(fingerprint(1), &RangeSet::new())
        .unwrap();
    assert!(journal.shards(fingerprint(1)).unwrap().is_empty());
    journal.finish_uploads(vec![delivered(1)]).unwrap();
    journal.forget_receipts(vec![fingerprint(1)]).unwrap();
    assert_eq!(journal.receipt(fingerprint(1)).unwrap(), None);
}

#[test]
fn a_closed_journal_says_so() {
    let fixture = fixture();
    let journal = fixture.open();
    journal.close().unwrap();
    assert!(matches!(
        journal.record(vec![pending(1)]),
        Err(JournalError::Closed)
    ));
    assert!(matches!(journal.file(FileId(1)), Err(JournalError::Closed)));
    journal.close().unwrap();
}

#[test]
fn binding_to_another_server_makes_all_photos_pending() {
    let fixture = fixture();
    let journal = fixture.open();
    assert_eq!(
        journal.bind_server("home/anna").unwrap(),
        BindOutcome::First
    );
    journal.record(vec![pending(1), pending(2)]).unwrap();
    journal.finish_uploads(vec![delivered(1)]).unwrap();
    journal.add_shard(fingerprint(2), range(0, 10)).unwrap();
    journal
        .confirm_names(vec![], vec![(path(1), Some(7))])
        .unwrap();
    assert_eq!(journal.bind_server("home/anna").unwrap(), BindOutcome::Same);
    assert_eq!(journal.tally().backed_up.files, 1);
    drop(journal);

    let journal = fixture.open();
    assert_eq!(
        journal.bind_server("club/anna").unwrap(),
        BindOutcome::Other
    );
    assert_eq!(journal.file(FileId(1)).unwrap(), Some(pending(1).1));
    assert_eq!(ids(&journal.pending(9, 0, &none()).unwrap()), [1, 2]);
    assert_eq!(
        (
            journal.tally().pending.files,
            journal.tally().backed_up.files
        ),
        (2, 0)
    );
    assert_eq!(journal.receipt(fingerprint(1)).unwrap(), None);
    assert_eq!(journal.shards(fingerprint(2)).unwrap(), RangeSet::new());
    assert_eq!(journal.name_version(&path(1)).unwrap(), None);
    assert_eq!(journal.names_queued(), 0);
}

#[test]
fn failed_files_are_listed_until_they_are_not_failed() {
    let fixture = fixture();
    let journal = fixture.open();
    let failed = |number| {
        file(
            number,
            FileState::Failed {
                fingerprint: None,
                why: "incomplete".to_owned(),
            },
        )
    };
    journal
        .record(vec![failed(1), pending(2), failed(3), failed(4)])
        .unwrap();
    assert_eq!(
        journal.failed(9).unwrap(),
        [failed(1), failed(3), failed(4)]
    );
    assert_eq!(journal.failed(1).unwrap(), [failed(1)]);
    journal.record(vec![pending(1)]).unwrap();
    journal.forget(vec![FileId(3)]).unwrap();
    drop(journal);
    assert_eq!(fixture.open().failed(9).unwrap(), [failed(4)]);
}

#[test]
fn only_renames_of_library_entries_go_to_the_outbox() {
    let fixture = fixture();
    let journal = fixture.open();
    let [one, two, three, four] = [1, 2, 3, 4].map(FileId);
    journal
        .record(vec![backed_up(1), pending(2), pending(3), backed_up(4)])
        .unwrap();
    // A photo that was backed up, and has changed since.
    journal
        .confirm_names(vec![], vec![(path(3), Some(7))])
        .unwrap();
    let known = journal
        .update_names(vec![
            NameUpdate::Move {
                id: one,
                to: path(11),
            },
            NameUpdate::Move {
                id: one,
                to: path(11),
            },
            NameUpdate::Move {
                id: two,
                to: path(12),
            },
            NameUpdate::Move {
                id: three,
                to: path(13),
            },
            NameUpdate::Rename {
                id: four,
                to: path(14),
            },
            NameUpdate::Put {
                id: four,
                to: path(15),
            },
            NameUpdate::Remove { id: two },
            NameUpdate::Remove { id: one },
            NameUpdate::Forget { id: four },
            NameUpdate::Move {
                id: FileId(99),
                to: path(9),
            },
        ])
        .unwrap();
    assert_eq!(known[0], Some(backed_up(1).1));
    assert_eq!(
        known[1],
        Some(FileRecord {
            path: path(11),
            ..backed_up(1).1
        })
    );
    assert_eq!(known[9], None);
    let heard: Vec<_> = journal
        .queued_names(99)
        .unwrap()
        .into_iter()
        .map(|(_, change)| change)
        .collect();
    assert_eq!(
        heard,
        [
            NameChange::Move {
                from: path(1),
                to: path(11)
            },
            NameChange::Move {
                from: path(3),
                to: path(13)
            },
            NameChange::Put {
                path: path(15),
                fingerprint: fingerprint(4),
                mtime_ns: stamp(4).mtime_ns
            },
            NameChange::Remove { path: path(11) },
        ]
    );
    assert_eq!(ids(&journal.files_after(None, 9).unwrap()), [3]);
    assert_eq!(
        journal.file(three).unwrap(),
        Some(FileRecord {
            path: path(13),
            ..pending(3).1
        })
    );
}
