//! The interruption list.

use heirloom_protocol::RangeSet;
use heirloom_server::index::{IndexError, InterruptedUpload};

use super::{TestIndex, image, range, set, two_users};

pub(super) async fn shards_merge_in_any_order(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    for (start, end, expected) in [
        (8, 12, set(&[(8, 12)])),
        (0, 4, set(&[(0, 4), (8, 12)])),
        (0, 4, set(&[(0, 4), (8, 12)])),
        (3, 5, set(&[(0, 5), (8, 12)])),
        (5, 8, set(&[(0, 12)])),
    ] {
        let entry = index
            .record_shard(anna, image(1), 20, range(start, end))
            .await
            .unwrap();
        assert_eq!(
            entry,
            InterruptedUpload {
                size: 20,
                received: expected
            }
        );
        assert_eq!(
            index.interrupted_uploads(anna, &[image(1)]).await.unwrap()[&image(1)],
            entry
        );
    }
    assert_eq!(index.status(anna).await.unwrap().interrupted_uploads, 1);
}

pub(super) async fn shards_recorded_concurrently_are_all_kept(fixture: &TestIndex) {
    const SHARDS: u64 = 200;
    let (index, anna, _) = two_users(fixture).await;
    let notes = (0..SHARDS).map(|shard| {
        let index = index.clone();
        tokio::spawn(async move {
            index
                .record_shard(anna, image(1), SHARDS * 2, range(2 * shard, 2 * shard + 1))
                .await
        })
    });
    for note in notes.collect::<Vec<_>>() {
        note.await.unwrap().unwrap();
    }
    let expected: RangeSet = (0..SHARDS)
        .map(|shard| range(2 * shard, 2 * shard + 1))
        .collect();
    assert_eq!(
        index.interrupted_uploads(anna, &[image(1)]).await.unwrap()[&image(1)].received,
        expected
    );
}

pub(super) async fn an_upload_keeps_the_size_it_was_started_with(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    index
        .record_shard(anna, image(1), 20, range(0, 4))
        .await
        .unwrap();
    let error = index
        .record_shard(anna, image(1), 21, range(4, 8))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            IndexError::SizeMismatch {
                begun: 20,
                announced: 21
            }
        ),
        "{error}"
    );
    assert_eq!(
        index.interrupted_uploads(anna, &[image(1)]).await.unwrap()[&image(1)].received,
        set(&[(0, 4)])
    );
    index
        .record_shard(ben, image(1), 21, range(4, 8))
        .await
        .unwrap();
}

pub(super) async fn users_never_share_an_upload(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    index
        .record_shard(anna, image(1), 20, range(0, 4))
        .await
        .unwrap();
    assert!(
        index
            .interrupted_uploads(ben, &[image(1)])
            .await
            .unwrap()
            .is_empty()
    );
    let entry = index
        .record_shard(ben, image(1), 20, range(4, 8))
        .await
        .unwrap();
    assert_eq!(entry.received, set(&[(4, 8)]));
    index.delete_upload(anna, image(1)).await.unwrap();
    assert_eq!(
        index
            .interrupted_uploads(ben, &[image(1)])
            .await
            .unwrap()
            .len(),
        1
    );
}

pub(super) async fn deleting_an_upload_twice_is_fine(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    index
        .record_shard(anna, image(1), 20, range(0, 4))
        .await
        .unwrap();
    for _ in 0..2 {
        index.delete_upload(anna, image(1)).await.unwrap();
        assert!(
            index
                .interrupted_uploads(anna, &[image(1)])
                .await
                .unwrap()
                .is_empty()
        );
    }
    let entry = index
        .record_shard(anna, image(1), 30, range(4, 8))
        .await
        .unwrap();
    assert_eq!(
        entry,
        InterruptedUpload {
            size: 30,
            received: set(&[(4, 8)])
        },
        "begun anew"
    );
}

pub(super) async fn stale_uploads_are_found_oldest_first(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    for (user, number) in [(anna, 1), (ben, 2), (anna, 3)] {
        index
            .record_shard(user, image(number), 20, range(0, 4))
            .await
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    // A shard that was there already is a sign of life, too.
    index
        .record_shard(anna, image(1), 20, range(0, 4))
        .await
        .unwrap();
    assert!(index.stale_uploads(0, 10).await.unwrap().is_empty());
    let all = index.stale_uploads(i64::MAX, 10).await.unwrap();
    assert_eq!(all, [(ben, image(2)), (anna, image(3)), (anna, image(1))]);
    assert_eq!(
        index.stale_uploads(i64::MAX, 1).await.unwrap(),
        [(ben, image(2))]
    );
}
