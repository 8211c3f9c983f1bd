//! Unreferenced images.

use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;
use heirloom_server::index::{Index, UnreferencedStats};

use super::{TestIndex, image, length_of, put, range, remove, two_users};

/// Puts the images, a hundred bytes each, into the user's trash only.
async fn trash(index: &Index, user: UserId, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        index.add_holding(user, image(number), 100).await.unwrap();
        let since = index.library_changes(user, 0, 1000).await.unwrap().next;
        let path = format!("{number}-{since}");
        index
            .change_library(user, vec![put(&path, number, 0), remove(&path, since + 1)])
            .await
            .unwrap();
    }
}

/// Deletes the images that have been unreferenced since `until_ms`.
async fn delete_candidates(index: &Index, until_ms: i64) -> Vec<Fingerprint> {
    let candidates = index.unreferenced(until_ms, None, 1000).await.unwrap();
    index
        .delete_unreferenced(candidates, until_ms)
        .await
        .unwrap()
}

fn sorted(numbers: impl IntoIterator<Item = u32>) -> Vec<Fingerprint> {
    let mut images: Vec<_> = numbers.into_iter().map(image).collect();
    images.sort();
    images
}

pub(super) async fn an_image_is_deleted_a_grace_period_after_its_last_holding_ended(
    fixture: &TestIndex,
) {
    let (index, anna, ben) = two_users(fixture).await;
    trash(&index, anna, 1..=3).await;
    trash(&index, ben, 2..=2).await;
    assert_eq!(
        delete_candidates(&index, i64::MAX).await,
        [],
        "all of it is in the trash"
    );
    index.purge_trash(Some(anna), i64::MAX, 100).await.unwrap();
    assert_eq!(
        index.unreferenced_stats().await.unwrap(),
        UnreferencedStats {
            images: 2,
            bytes: 200
        }
    );
    assert_eq!(
        index.status(anna).await.unwrap().held_bytes,
        0,
        "the quota is given back at once"
    );
    assert_eq!(
        delete_candidates(&index, 0).await,
        [],
        "it was not long ago"
    );
    assert_eq!(
        index.delete_unreferenced(vec![image(1)], 0).await.unwrap(),
        [],
        "it may have been referenced again since it was looked up"
    );
    assert!(length_of(&index, image(1)).await.is_some());

    let pages = [None, Some(sorted(1..=3)[0])];
    let first = index.unreferenced(i64::MAX, pages[0], 1).await.unwrap();
    assert_eq!(first, sorted(1..=3)[..1], "in the order of fingerprints");
    assert_eq!(
        index.unreferenced(i64::MAX, pages[1], 100).await.unwrap(),
        sorted(1..=3)[1..]
    );

    assert_eq!(
        delete_candidates(&index, i64::MAX).await,
        sorted([1, 3]),
        "the other one is Ben's, too"
    );
    assert_eq!(length_of(&index, image(1)).await, None);
    assert_eq!(delete_candidates(&index, i64::MAX).await, []);
    assert_eq!(
        index.unreferenced_stats().await.unwrap(),
        UnreferencedStats::default()
    );
    index.purge_trash(None, i64::MAX, 100).await.unwrap();
    assert_eq!(delete_candidates(&index, i64::MAX).await, [image(2)]);
}

pub(super) async fn a_referenced_image_is_not_deleted(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    trash(&index, anna, 1..=5).await;
    index.purge_trash(None, i64::MAX, 100).await.unwrap();
    // Held, in a library, in the trash, on its way.
    index.add_holding(ben, image(1), 100).await.unwrap();
    index.link(ben, image(2)).await.unwrap().unwrap();
    index
        .change_library(ben, vec![put("photo", 2, 0)])
        .await
        .unwrap();
    trash(&index, ben, 3..=3).await;
    index
        .record_shard(ben, image(4), 100, range(0, 10))
        .await
        .unwrap();
    assert_eq!(delete_candidates(&index, i64::MAX).await, [image(5)]);
    for number in 1..=4 {
        assert_eq!(
            length_of(&index, image(number)).await,
            Some(100),
            "{number}"
        );
    }
    index.delete_upload(ben, image(4)).await.unwrap();
    assert_eq!(
        delete_candidates(&index, i64::MAX).await,
        [image(4)],
        "nobody goes on with it"
    );
}

pub(super) async fn an_image_that_is_referenced_again_is_not_deleted(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    trash(&index, anna, 1..=1).await;
    index.purge_trash(None, i64::MAX, 100).await.unwrap();
    let receipt = index.link(ben, image(1)).await.unwrap();
    assert!(receipt.is_some(), "until it is deleted it can be linked");
    assert_eq!(delete_candidates(&index, i64::MAX).await, []);
    assert_eq!(
        index.unreferenced(i64::MAX, None, 100).await.unwrap(),
        [],
        "and is not looked at again for nothing"
    );
    trash(&index, ben, 1..=1).await;
    index.purge_trash(None, i64::MAX, 100).await.unwrap();
    assert_eq!(delete_candidates(&index, i64::MAX).await, [image(1)]);
    assert_eq!(
        index.link(ben, image(1)).await.unwrap(),
        None,
        "nothing is left to be linked"
    );
    index.add_holding(ben, image(1), 100).await.unwrap();
    assert_eq!(index.status(ben).await.unwrap().held_bytes, 100);
}

pub(super) async fn an_unreferenced_corrupt_image_is_deleted(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    trash(&index, anna, 1..=1).await;
    index.quarantine(image(1)).await.unwrap();
    index.purge_trash(None, i64::MAX, 100).await.unwrap();
    assert_eq!(delete_candidates(&index, i64::MAX).await, [image(1)]);
    assert_eq!(index.corrupt_count().await.unwrap(), 0);
}

pub(super) async fn an_unknown_image_has_neither_row_nor_upload(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    for number in 0..700 {
        index
            .record_shard(ben, image(number + 1000), 100, range(0, 10))
            .await
            .unwrap();
    }
    index
        .add_holdings(anna, (0..700).map(|number| (image(number), 100)).collect())
        .await
        .unwrap();
    index.quarantine(image(3)).await.unwrap();
    let asked: Vec<_> = (0..2000).map(image).collect();
    let unknown: Vec<_> = (700..1000).chain(1700..2000).map(image).collect();
    assert_eq!(index.unknown_images(&asked).await.unwrap(), unknown);
    assert_eq!(index.unknown_images(&[]).await.unwrap(), []);
}

pub(super) async fn a_link_and_a_deletion_of_one_image_exclude_each_other(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    let second = fixture.open().await;
    let numbers = 0..100;
    trash(&index, anna, numbers.clone()).await;
    index.purge_trash(None, i64::MAX, 1000).await.unwrap();
    for number in numbers {
        let (linked, forgotten) = tokio::join!(
            index.link(ben, image(number)),
            second.delete_unreferenced(vec![image(number)], i64::MAX)
        );
        let size = length_of(&index, image(number)).await;
        match (linked.unwrap(), &forgotten.unwrap()[..]) {
            (Some(_), []) => assert_eq!(size, Some(100)),
            (None, [_]) => assert_eq!(size, None),
            both => panic!("{both:?}"),
        }
    }
}
