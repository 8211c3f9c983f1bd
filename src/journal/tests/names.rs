//! Renames and removals, in the records and in the outbox together.

use super::*;
use crate::journal::*;

fn open() -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal.redb")).unwrap();
    (folder, journal)
}

fn outbox(journal: &Journal) -> Vec<NameChange> {
    journal
        .queued_names(99)
        .unwrap()
        .into_iter()
        .map(|(_, change)| change)
        .collect()
}

fn moved(from: u64, to: u64) -> NameChange {
    NameChange::Move {
        from: path(from),
        to: path(to),
    }
}

#[test]
fn a_name_in_the_library_moves_with_its_file() {
    let (_folder, journal) = open();
    journal
        .record(vec![backed_up(1), pending(2), pending(3)])
        .unwrap();
    // The third was backed up once, and changed since: the library knows its name.
    journal
        .confirm_names(vec![], vec![(path(3), Some(7))])
        .unwrap();
    let step = |id| NameUpdate::Move {
        id: FileId(id),
        to: path(id + 10),
    };
    let known = journal
        .update_names(vec![step(1), step(2), step(3), step(4)])
        .unwrap();
    assert_eq!(
        known,
        [
            Some(backed_up(1).1),
            Some(pending(2).1),
            Some(pending(3).1),
            None
        ]
    );
    assert_eq!(outbox(&journal), [moved(1, 11), moved(3, 13)]);
    assert_eq!(journal.file(FileId(2)).unwrap().unwrap().path, path(12));
    assert_eq!(journal.file(FileId(4)).unwrap(), None);
}

#[test]
fn updates_are_applied_in_their_order() {
    let (_folder, journal) = open();
    journal.record(vec![backed_up(1)]).unwrap();
    let id = FileId(1);
    let steps = vec![
        NameUpdate::Move { id, to: path(2) },
        NameUpdate::Move { id, to: path(2) },
        NameUpdate::Rename { id, to: path(3) },
        NameUpdate::Remove { id },
        NameUpdate::Move { id, to: path(4) },
    ];
    journal.update_names(steps).unwrap();
    assert_eq!(
        outbox(&journal),
        [moved(1, 2), NameChange::Remove { path: path(3) }]
    );
    assert_eq!(journal.file(id).unwrap(), None);
    assert_eq!(journal.tally(), Tally::default());
}

#[test]
fn a_file_whose_old_name_is_taken_is_put_under_its_new_one() {
    let (_folder, journal) = open();
    journal.record(vec![backed_up(1), pending(2)]).unwrap();
    let step = |id| NameUpdate::Put {
        id: FileId(id),
        to: path(id + 10),
    };
    journal.update_names(vec![step(1), step(2)]).unwrap();
    let mtime_ns = backed_up(1).1.stamp.mtime_ns;
    let put = NameChange::Put {
        path: path(11),
        fingerprint: fingerprint(1),
        mtime_ns,
    };
    assert_eq!(outbox(&journal), [put]);
}

#[test]
fn a_forgotten_file_stays_in_the_library() {
    let (_folder, journal) = open();
    journal
        .record(vec![backed_up(1), pending(2), backed_up(3)])
        .unwrap();
    let steps = vec![
        NameUpdate::Forget { id: FileId(1) },
        NameUpdate::Remove { id: FileId(2) },
        NameUpdate::Remove { id: FileId(3) },
        NameUpdate::Remove { id: FileId(4) },
    ];
    journal.update_names(steps).unwrap();
    assert_eq!(outbox(&journal), [NameChange::Remove { path: path(3) }]);
    assert_eq!(journal.tally(), Tally::default());
    assert!(
        journal
            .pending(9, 9, &std::collections::HashSet::new())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_edited_photo_that_is_renamed_twice_before_its_confirmation_leaves_no_name_behind() {
    let (_folder, journal) = open();
    journal.record(vec![backed_up(1), pending(2)]).unwrap();
    journal
        .confirm_names(vec![], vec![(path(1), Some(7))])
        .unwrap();
    let put = NameChange::Put {
        path: path(2),
        fingerprint: fingerprint(2),
        mtime_ns: 5,
    };
    journal.queue_names(vec![put.clone()]).unwrap();
    // Edited, so neither is backed up as it is; one name is confirmed, the other one is not yet.
    journal.record(vec![pending(1)]).unwrap();
    let step = |id, to| NameUpdate::Move {
        id: FileId(id),
        to: path(to),
    };
    journal
        .update_names(vec![step(1, 11), step(1, 21), step(2, 12), step(2, 22)])
        .unwrap();
    assert_eq!(
        outbox(&journal),
        [
            put,
            moved(1, 11),
            moved(11, 21),
            moved(2, 12),
            moved(12, 22)
        ]
    );
    let versions = journal
        .name_versions(&[path(1), path(2), path(21)])
        .unwrap();
    assert_eq!(
        versions,
        [Some(7), None, None],
        "what the server did not confirm, it did not confirm"
    );
    journal
        .update_names(vec![NameUpdate::Remove { id: FileId(1) }])
        .unwrap();
    assert_eq!(
        outbox(&journal).last(),
        Some(&NameChange::Remove { path: path(21) })
    );
}

#[test]
fn the_feed_position_skips_our_own_changes_that_follow_it_directly() {
    let (_folder, journal) = open();
    journal.skip_own_changes([2, 3].into()).unwrap();
    assert_eq!(
        journal.feed_position().unwrap(),
        0,
        "somebody else's change comes first"
    );
    journal.skip_own_changes([1, 2, 4].into()).unwrap();
    assert_eq!(
        journal.feed_position().unwrap(),
        2,
        "the third is somebody else's"
    );
    journal.skip_own_changes([1, 2].into()).unwrap();
    journal.skip_own_changes(BTreeSet::new()).unwrap();
    assert_eq!(journal.feed_position().unwrap(), 2);
    journal
        .add_remote(RemoteChanges {
            position: 4,
            ..RemoteChanges::default()
        })
        .unwrap();
    journal.skip_own_changes([4, 5, 6].into()).unwrap();
    assert_eq!(journal.feed_position().unwrap(), 6);
}

#[test]
fn a_name_that_is_put_again_is_known_to_the_library_though_its_removal_is_confirmed_meanwhile() {
    let (_folder, journal) = open();
    let remove = NameChange::Remove { path: path(1) };
    let put = NameChange::Put {
        path: path(1),
        fingerprint: fingerprint(1),
        mtime_ns: 1,
    };
    journal.queue_names(vec![remove, put.clone()]).unwrap();
    journal
        .confirm_names(vec![0], vec![(path(1), None)])
        .unwrap();
    // Changed since, so the name is all that the library has of it.
    journal.record(vec![pending(1)]).unwrap();
    journal
        .update_names(vec![NameUpdate::Move {
            id: FileId(1),
            to: path(2),
        }])
        .unwrap();
    assert_eq!(outbox(&journal), [put, moved(1, 2)]);
}
