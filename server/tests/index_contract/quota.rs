//! Quotas: what counts, and that it counts right whoever adds at once.

use heirloom_server::index::IndexError;

use super::{Place, image, length_of, range, two_users};

pub(super) async fn what_a_user_holds_is_counted_once(place: &Place) {
    let (index, anna, ben) = two_users(place).await;
    for _ in 0..2 {
        index.add_holding(anna, image(1), 100).await.unwrap();
        index.add_holding(anna, image(2), 50).await.unwrap();
        index.link(ben, image(1)).await.unwrap().unwrap();
    }
    // Damaged, asked for again, and brought again.
    index.quarantine(image(2)).await.unwrap();
    assert_eq!(index.status(anna).await.unwrap().held_bytes, 150);
    index.add_holding(anna, image(2), 50).await.unwrap();
    assert_eq!(index.status(anna).await.unwrap().held_bytes, 150);
    assert_eq!(index.status(ben).await.unwrap().held_bytes, 100);
}

pub(super) async fn nothing_goes_over_a_quota_and_what_is_there_stays(place: &Place) {
    let (index, anna, ben) = two_users(place).await;
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

pub(super) async fn images_brought_at_once_never_share_the_last_room(place: &Place) {
    let (index, anna, _) = two_users(place).await;
    let beside = place.open().await;
    index.set_quota(anna, Some(1000)).await.unwrap();
    let brought: Vec<_> = (0..50)
        .map(|number| {
            let index = if number % 2 == 0 {
                index.clone()
            } else {
                beside.clone()
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
    for one in brought {
        one.await.unwrap();
    }
    let status = index.status(anna).await.unwrap();
    assert_eq!((status.images, status.held_bytes), (10, 1000));
    beside.close().await;
}

pub(super) async fn what_is_on_its_way_takes_room_for_others(place: &Place) {
    let (index, anna, _) = two_users(place).await;
    index.set_quota(anna, Some(1000)).await.unwrap();
    index.add_holding(anna, image(1), 300).await.unwrap();
    index
        .record_shard(anna, image(2), 500, range(0, 10))
        .await
        .unwrap();
    let room = index.quota_usage(anna, image(3)).await.unwrap();
    assert!(room.fits(200) && !room.fits(201));
    assert!(
        index.quota_usage(anna, image(2)).await.unwrap().fits(500),
        "it does not stand in its own way"
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
