//! Libraries, the change feed and the trash.

use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::{LibraryChange, LibraryEntry, LibraryOutcome, LibraryPhoto};
use heirloom_protocol::possession::UserId;
use heirloom_server::index::Index;

use super::{TestIndex, applied, conflict, image, path, put, relocate, remove, two_users};

/// Ten images of hundred bytes, held by the first user.
async fn with_images(fixture: &TestIndex) -> (Index, UserId, UserId) {
    let (index, anna, ben) = two_users(fixture).await;
    for number in 0..10 {
        index.add_holding(anna, image(number), 100).await.unwrap();
    }
    (index, anna, ben)
}

async fn change(index: &Index, user: UserId, change: LibraryChange) -> LibraryOutcome {
    index
        .change_library(user, vec![change])
        .await
        .unwrap()
        .remove(0)
}

/// The library: version, path, image.
async fn current(index: &Index, user: UserId) -> Vec<(u64, String, Option<u32>)> {
    let feed = index.library_changes(user, 0, 1000).await.unwrap();
    let number = |photo: LibraryPhoto| {
        (0..100)
            .find(|number| image(*number) == photo.fingerprint)
            .unwrap()
    };
    feed.entries
        .into_iter()
        .map(|it| (it.version, it.path.to_string(), it.photo.map(number)))
        .collect()
}

async fn trashed(index: &Index, user: UserId) -> u64 {
    index.status(user).await.unwrap().trashed_photos
}

pub(super) async fn a_put_is_listed_with_its_version(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    assert_eq!(change(&index, anna, put("a/b.jpg", 1, 0)).await, applied(1));
    let feed = index.library_changes(anna, 0, 10).await.unwrap();
    let photo = LibraryPhoto {
        fingerprint: image(1),
        size: 100,
        mtime_ns: 1,
    };
    assert_eq!(
        feed.entries,
        [LibraryEntry {
            version: 1,
            path: path("a/b.jpg"),
            photo: Some(photo)
        }]
    );
    assert_eq!((feed.next, feed.more), (1, false));
    assert_eq!(index.status(anna).await.unwrap().library_photos, 1);
}

pub(super) async fn a_put_sent_twice_changes_nothing(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    for _ in 0..2 {
        assert_eq!(change(&index, anna, put("a", 1, 0)).await, applied(1));
    }
    assert_eq!(change(&index, anna, put("a", 2, 1)).await, applied(2));
    for base in [0, 1, 2, 99] {
        assert_eq!(
            change(&index, anna, put("a", 2, base)).await,
            applied(2),
            "base {base}"
        );
    }
    assert_eq!(trashed(&index, anna).await, 1);
}

pub(super) async fn a_put_that_is_not_based_on_the_current_version_is_a_conflict(
    fixture: &TestIndex,
) {
    let (index, anna, _) = with_images(fixture).await;
    change(&index, anna, put("a", 1, 0)).await;
    assert_eq!(change(&index, anna, put("a", 2, 0)).await, conflict(1));
    assert_eq!(change(&index, anna, put("b", 2, 1)).await, conflict(0));
    change(&index, anna, remove("a", 1)).await;
    assert_eq!(
        change(&index, anna, put("a", 2, 1)).await,
        conflict(0),
        "it was removed meanwhile"
    );
    assert_eq!(current(&index, anna).await, [(2, "a".to_owned(), None)]);
    assert_eq!(change(&index, anna, put("a", 2, 0)).await, applied(3));
}

pub(super) async fn a_put_needs_a_held_image(fixture: &TestIndex) {
    let (index, anna, ben) = with_images(fixture).await;
    let refused = LibraryOutcome::Refused {
        code: ErrorCode::ImageNotHeld,
    };
    assert_eq!(
        change(&index, anna, put("a", 50, 0)).await,
        refused,
        "nobody has it"
    );
    assert_eq!(
        change(&index, ben, put("a", 1, 0)).await,
        refused,
        "another user holds it"
    );
    assert!(current(&index, anna).await.is_empty());
    assert!(current(&index, ben).await.is_empty());
}

pub(super) async fn an_overwritten_photo_goes_to_the_trash(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    change(&index, anna, put("a", 1, 0)).await;
    assert_eq!(change(&index, anna, put("a", 2, 1)).await, applied(2));
    assert_eq!(current(&index, anna).await, [(2, "a".to_owned(), Some(2))]);
    assert_eq!(trashed(&index, anna).await, 1);
    // Another time of the same content loses nothing.
    let touched = LibraryChange::Put {
        path: path("a"),
        fingerprint: image(2),
        mtime_ns: -5,
        base: 2,
    };
    assert_eq!(change(&index, anna, touched).await, applied(3));
    assert_eq!(
        index.library_changes(anna, 2, 1).await.unwrap().entries[0]
            .photo
            .unwrap()
            .mtime_ns,
        -5
    );
    assert_eq!(trashed(&index, anna).await, 1);
}

pub(super) async fn a_moved_photo_leaves_a_tombstone(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    change(&index, anna, put("a", 1, 0)).await;
    assert_eq!(
        change(&index, anna, relocate("a", "b", 1)).await,
        applied(3)
    );
    assert_eq!(
        current(&index, anna).await,
        [(2, "a".to_owned(), None), (3, "b".to_owned(), Some(1))]
    );
    assert_eq!(trashed(&index, anna).await, 0);
    assert_eq!(
        change(&index, anna, relocate("b", "b", 3)).await,
        applied(3),
        "a move to its own path"
    );
}

pub(super) async fn a_move_sent_twice_changes_nothing(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    change(&index, anna, put("a", 1, 0)).await;
    for _ in 0..3 {
        assert_eq!(
            change(&index, anna, relocate("a", "b", 1)).await,
            applied(3)
        );
    }
    change(&index, anna, put("b", 2, 3)).await;
    assert_eq!(
        change(&index, anna, relocate("a", "b", 1)).await,
        conflict(0),
        "b is something else by now"
    );
}

pub(super) async fn a_move_over_a_photo_trashes_it(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    change(&index, anna, put("a", 1, 0)).await;
    change(&index, anna, put("b", 2, 0)).await;
    assert_eq!(
        change(&index, anna, relocate("a", "b", 1)).await,
        applied(4)
    );
    assert_eq!(
        current(&index, anna).await,
        [(3, "a".to_owned(), None), (4, "b".to_owned(), Some(1))]
    );
    assert_eq!(trashed(&index, anna).await, 1);
}

pub(super) async fn a_move_that_is_not_based_on_the_current_version_is_a_conflict(
    fixture: &TestIndex,
) {
    let (index, anna, _) = with_images(fixture).await;
    assert_eq!(
        change(&index, anna, relocate("a", "b", 1)).await,
        conflict(0)
    );
    change(&index, anna, put("a", 1, 0)).await;
    change(&index, anna, put("a", 2, 1)).await;
    assert_eq!(
        change(&index, anna, relocate("a", "b", 1)).await,
        conflict(2)
    );
    assert_eq!(current(&index, anna).await, [(2, "a".to_owned(), Some(2))]);
}

pub(super) async fn a_removed_photo_goes_to_the_trash_once(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    assert_eq!(
        change(&index, anna, remove("a", 0)).await,
        applied(0),
        "never was there"
    );
    change(&index, anna, put("a", 1, 0)).await;
    assert_eq!(change(&index, anna, remove("a", 7)).await, conflict(1));
    for _ in 0..2 {
        assert_eq!(change(&index, anna, remove("a", 1)).await, applied(2));
    }
    assert_eq!(trashed(&index, anna).await, 1);
    assert_eq!(
        index.receipts(anna, &[image(1)]).await.unwrap().len(),
        1,
        "the image stays held"
    );
}

pub(super) async fn a_refused_change_does_not_affect_its_batch(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    let outcomes = index
        .change_library(
            anna,
            vec![
                put("a", 1, 0),
                put("b", 50, 0),
                put("a", 2, 0),
                put("c", 3, 0),
            ],
        )
        .await;
    let refused = LibraryOutcome::Refused {
        code: ErrorCode::ImageNotHeld,
    };
    assert_eq!(
        outcomes.unwrap(),
        [applied(1), refused, conflict(1), applied(2)]
    );
}

pub(super) async fn changes_in_one_batch_build_on_each_other(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    let batch = vec![
        put("a", 1, 0),
        put("a", 2, 1),
        relocate("a", "b", 2),
        put("a", 3, 0),
        remove("b", 4),
        relocate("a", "b", 5),
    ];
    let outcomes = index.change_library(anna, batch.clone()).await.unwrap();
    assert_eq!(
        outcomes,
        [
            applied(1),
            applied(2),
            applied(4),
            applied(5),
            applied(6),
            applied(8)
        ]
    );
    assert_eq!(
        current(&index, anna).await,
        [(7, "a".to_owned(), None), (8, "b".to_owned(), Some(3))]
    );
    assert_eq!(
        trashed(&index, anna).await,
        2,
        "1 was overwritten, 2 removed"
    );
    assert!(
        index
            .change_library(anna, Vec::new())
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn the_feed_is_paged_without_gaps(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    for number in 0..7 {
        change(&index, anna, put(&format!("{number}"), number, 0)).await;
    }
    change(&index, anna, put("2", 9, 3)).await;
    let (mut since, mut seen) = (0, Vec::new());
    loop {
        let feed = index.library_changes(anna, since, 3).await.unwrap();
        assert!(feed.entries.len() <= 3);
        assert!(
            feed.entries
                .iter()
                .all(|entry| entry.version > since && entry.version <= feed.next)
        );
        seen.extend(feed.entries.iter().map(|entry| entry.path.to_string()));
        since = feed.next;
        if !feed.more {
            break;
        }
    }
    assert_eq!(seen, ["0", "1", "3", "4", "5", "6", "2"]);
    assert_eq!(since, 8);
    let nothing_new = index.library_changes(anna, since, 3).await.unwrap();
    assert_eq!(
        (
            nothing_new.entries.len(),
            nothing_new.next,
            nothing_new.more
        ),
        (0, 8, false)
    );
    assert_eq!(
        index.library_changes(anna, u64::MAX, 3).await.unwrap().next,
        u64::MAX
    );
}

pub(super) async fn each_user_has_their_own_versions(fixture: &TestIndex) {
    let (index, anna, ben) = with_images(fixture).await;
    index.add_holding(ben, image(1), 100).await.unwrap();
    change(&index, anna, put("a", 1, 0)).await;
    change(&index, anna, put("b", 2, 0)).await;
    assert_eq!(change(&index, ben, put("a", 1, 0)).await, applied(1));
    assert_eq!(current(&index, ben).await, [(1, "a".to_owned(), Some(1))]);
    change(&index, anna, remove("a", 1)).await;
    assert_eq!(current(&index, ben).await, [(1, "a".to_owned(), Some(1))]);
    assert_eq!(trashed(&index, ben).await, 0);
}

pub(super) async fn concurrent_batches_never_share_a_version(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    let batches = (0..20).map(|batch| {
        let index = index.clone();
        let changes = (0..5)
            .map(|number| put(&format!("{batch}/{number}"), number, 0))
            .collect();
        tokio::spawn(async move { index.change_library(anna, changes).await })
    });
    let mut versions = Vec::new();
    for batch in batches.collect::<Vec<_>>() {
        for outcome in batch.await.unwrap().unwrap() {
            let LibraryOutcome::Applied { version } = outcome else {
                panic!("{outcome:?}")
            };
            versions.push(version);
        }
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=100).collect::<Vec<u64>>());
}

pub(super) async fn expired_trash_is_purged_in_batches(fixture: &TestIndex) {
    let (index, anna, _) = with_images(fixture).await;
    for number in 0..5 {
        change(&index, anna, put(&format!("{number}"), number, 0)).await;
        change(
            &index,
            anna,
            remove(&format!("{number}"), u64::from(number) * 2 + 1),
        )
        .await;
    }
    assert_eq!(trashed(&index, anna).await, 5);
    assert_eq!(
        index.purge_trash(None, 0, 10).await.unwrap(),
        0,
        "nothing is that old"
    );
    assert_eq!(index.purge_trash(None, i64::MAX, 2).await.unwrap(), 2);
    assert_eq!(trashed(&index, anna).await, 3);
    assert_eq!(index.purge_trash(None, i64::MAX, 10).await.unwrap(), 3);
    assert_eq!(index.purge_trash(None, i64::MAX, 10).await.unwrap(), 0);
}

pub(super) async fn an_add_only_caller_cannot_replace_move_or_remove(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    for number in 1..=2 {
        index.add_holding(anna, image(number), 10).await.unwrap();
    }
    let narrow = LibraryOutcome::Refused {
        code: ErrorCode::ScopeTooNarrow,
    };
    assert_eq!(
        index
            .add_to_library(anna, vec![put("a", 1, 0), put("b", 2, 0)])
            .await
            .unwrap(),
        [applied(1), applied(2)]
    );
    let before = index.library_changes(anna, 0, 10).await.unwrap();
    let spoiling = vec![
        put("a", 2, 1),
        put("a", 2, 0),
        relocate("a", "c", 1),
        relocate("a", "b", 1),
        remove("a", 1),
    ];
    assert_eq!(
        index.add_to_library(anna, spoiling).await.unwrap(),
        vec![narrow; 5]
    );
    assert_eq!(index.library_changes(anna, 0, 10).await.unwrap(), before);
    // What holds already may be said twice.
    assert_eq!(
        index
            .add_to_library(anna, vec![put("a", 1, 0)])
            .await
            .unwrap(),
        [applied(1)]
    );
    assert_eq!(
        index
            .change_library(anna, vec![remove("a", 1)])
            .await
            .unwrap(),
        [applied(3)]
    );
    assert_eq!(
        index
            .add_to_library(anna, vec![put("a", 2, 0)])
            .await
            .unwrap(),
        [applied(4)],
        "nothing stood there"
    );
}
