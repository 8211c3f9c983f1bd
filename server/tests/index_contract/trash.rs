//! The trash: what it lists, and what purging it removes.

use heirloom_protocol::message::LibraryPhoto;
use heirloom_protocol::possession::UserId;
use heirloom_server::index::Index;

use super::{TestIndex, applied, image, path, put, remove, two_users};

/// `a` was overwritten and removed, `b` removed, `c` is in the library; each image has a hundred
/// bytes.
async fn with_trash(fixture: &TestIndex) -> (Index, UserId, UserId) {
    let (index, anna, ben) = two_users(fixture).await;
    for number in 1..=4 {
        index.add_holding(anna, image(number), 100).await.unwrap();
    }
    let changes = vec![
        put("a", 1, 0),
        put("a", 2, 1),
        remove("a", 2),
        put("b", 1, 0),
        remove("b", 4),
        put("c", 3, 0),
    ];
    let outcomes = index.change_library(anna, changes).await.unwrap();
    assert_eq!(outcomes, [1, 2, 3, 4, 5, 6].map(applied));
    (index, anna, ben)
}

async fn listed(index: &Index, user: UserId) -> Vec<(String, u64, u64)> {
    let trash = index.trash(user, 0, 100).await.unwrap();
    assert!(!trash.more);
    trash
        .photos
        .into_iter()
        .map(|photo| (photo.path.to_string(), photo.version, photo.current_version))
        .collect()
}

pub(super) async fn the_trash_lists_every_removed_photo_page_by_page(fixture: &TestIndex) {
    let (index, anna, ben) = with_trash(fixture).await;
    let lost = |path: &str, version| (path.to_owned(), version, 0);
    assert_eq!(
        listed(&index, anna).await,
        [lost("a", 1), lost("a", 2), lost("b", 4)]
    );
    assert_eq!(listed(&index, ben).await, []);
    let page = index.trash(anna, 0, 2).await.unwrap();
    assert_eq!((page.photos.len(), page.more), (2, true));
    assert_eq!(
        page.photos[0].photo,
        LibraryPhoto {
            fingerprint: image(1),
            size: 100,
            mtime_ns: 1
        }
    );
    let page = index.trash(anna, page.photos[1].version, 2).await.unwrap();
    assert_eq!((page.photos.len(), page.more), (1, false));
}

pub(super) async fn the_trash_tells_the_current_version_at_the_path(fixture: &TestIndex) {
    let (index, anna, _) = with_trash(fixture).await;
    // As a restore does: put back, based on the current version.
    assert_eq!(
        index
            .change_library(anna, vec![put("a", 1, 0)])
            .await
            .unwrap(),
        [applied(7)]
    );
    assert_eq!(listed(&index, anna).await[0], ("a".to_owned(), 1, 7));
    assert_eq!(
        index
            .change_library(anna, vec![put("a", 2, 7)])
            .await
            .unwrap(),
        [applied(8)]
    );
    assert_eq!(
        listed(&index, anna).await.last(),
        Some(&("a".to_owned(), 7, 8)),
        "what stood there was not lost"
    );
    assert_eq!(
        index.library_changes(anna, 6, 10).await.unwrap().entries[0].path,
        path("a")
    );
}

pub(super) async fn purging_trash_ends_holdings_that_nothing_else_refers_to(fixture: &TestIndex) {
    let (index, anna, ben) = with_trash(fixture).await;
    index.add_holding(ben, image(1), 100).await.unwrap();
    index
        .change_library(anna, vec![put("d", 2, 0)])
        .await
        .unwrap();
    assert_eq!(
        index.purge_trash(Some(ben), i64::MAX, 100).await.unwrap(),
        0,
        "it is not his"
    );
    // The first goes; the second trashed entry of the same image keeps it.
    assert_eq!(index.purge_trash(Some(anna), i64::MAX, 1).await.unwrap(), 1);
    assert_eq!(index.status(anna).await.unwrap().held_bytes, 400);
    assert_eq!(
        index.purge_trash(Some(anna), i64::MAX, 100).await.unwrap(),
        2
    );
    let status = index.status(anna).await.unwrap();
    assert_eq!(
        (status.images, status.held_bytes, status.trashed_photos),
        (3, 300, 0)
    );
    let held: Vec<_> = (1..=4).map(image).collect();
    let held = index.receipts(anna, &held).await.unwrap();
    assert!(!held.contains_key(&image(1)), "only the trash had it");
    assert!(held.contains_key(&image(2)), "it is also in the library");
    assert!(
        held.contains_key(&image(4)),
        "it never had a name: its name may still be on its way"
    );
    assert_eq!(
        index.status(ben).await.unwrap().held_bytes,
        100,
        "what others hold is theirs"
    );
}
