//! Quotas: what counts, and that concurrent changes are counted right.

use heirloom_server::index::IndexError;

use super::{TestIndex, image, length_of, range, two_users};

pub(super) async fn held_images_are_counted_once(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    for _ in 0..2 {
        index.add_holding(anna, image(1), 100).await.unwrap();
        index.add_holding(anna, image(2), 50).await.unwrap();
        index.link(ben, image(1)).await.unwrap().unwrap();
    }
    // Corrupt, requested again, and uploaded again.
    index.quarantine(image(2)).await.unwrap();
    assert_eq!(index.status(anna).await.unwrap().held_bytes, 150);
    index.add_holding(anna, image(2), 50).await.unwrap();
    assert_eq!(index.status(anna).await.unwrap().held_bytes, 150);
    assert_eq!(index.status(ben).await.unwrap().held_bytes, 100);
}

pub(super) async fn nothing_exceeds_a_quota_and_held_images_stay(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    index.add_holding(ben, image(1), 100).await.unwrap();
    index.add_holding(anna, image(2), 60).await.unwrap();
    index.set_quota(anna, Some(120)).await.unwrap();
    let refused = index.add_holding(anna, image(3), 61).await.unwrap_err();
    assert!(
        matches!(
            refused,
            IndexError::OverQuota {
                quota: 120,
                held: 60,
                more: 61
            }
        ),
        "{refused}"
    );
    assert!(matches!(
        index.link(anna, image(1)).await,
        Err(IndexError::OverQuota { .. })
    ));
    assert_eq!(
        length_of(&index, image(3)).await,
        None,
        "nothing was written"
    );
    index.add_holding(anna, image(4), 60).await.unwrap();
    // Below what they hold: it all stays, and may be sent again.
    index.set_quota(anna, Some(0)).await.unwrap();
    index.add_holding(anna, image(2), 60).await.unwrap();
    assert!(index.add_holding(anna, image(5), 1).await.is_err());
    index.set_quota(anna, None).await.unwrap();
    index.add_holding(anna, image(5), 1).await.unwrap();
    assert_eq!(index.status(anna).await.unwrap().held_bytes, 121);
}

pub(super) async fn concurrent_uploads_never_exceed_the_quota(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    let second = fixture.open().await;
    index.set_quota(anna, Some(1000)).await.unwrap();
    let holdings: Vec<_> = (0..50)
        .map(|number| {
            let index = if number % 2 == 0 {
                index.clone()
            } else {
                second.clone()
            };
            // Each twice, as two devices would.
            tokio::spawn(async move {
                index
                    .add_holding(anna, image(number / 2), 100)
                    .await
                    .is_ok()
            })
        })
        .collect();
    for holding in holdings {
        holding.await.unwrap();
    }
    let status = index.status(anna).await.unwrap();
    assert_eq!((status.images, status.held_bytes), (10, 1000));
    second.close().await;
}

pub(super) async fn unfinished_uploads_count_toward_the_quota(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    index.set_quota(anna, Some(1000)).await.unwrap();
    index.add_holding(anna, image(1), 300).await.unwrap();
    index
        .record_shard(anna, image(2), 500, range(0, 10))
        .await
        .unwrap();
    let usage = index.quota_usage(anna, image(3)).await.unwrap();
    assert!(usage.fits(200) && !usage.fits(201));
    assert!(
        index.quota_usage(anna, image(2)).await.unwrap().fits(500),
        "it does not count against itself"
    );
    assert!(
        index
            .quota_usage(anna, image(1))
            .await
            .unwrap()
            .fits(100_000),
        "it is held already"
    );
}
