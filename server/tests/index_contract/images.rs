//! Images, and who holds them.

use heirloom_protocol::Fingerprint;

use super::{TestIndex, image, length_of, range, two_users};

pub(super) async fn repeated_holdings_return_the_first_receipt(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    assert_eq!(length_of(&index, image(1)).await, None);
    let first = index.add_holding(anna, image(1), 1000).await.unwrap();
    assert_eq!((first.fingerprint, first.size), (image(1), 1000));
    assert!(first.stored_at_ms > 1_700_000_000_000, "{first:?}");
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    assert_eq!(
        index.add_holding(anna, image(1), 1000).await.unwrap(),
        first
    );
    assert_eq!(index.link(anna, image(1)).await.unwrap(), Some(first));
    assert_eq!(
        index.receipts(anna, &[image(1)]).await.unwrap()[&image(1)],
        first
    );
    assert_eq!(length_of(&index, image(1)).await, Some(1000));
}

pub(super) async fn a_batch_of_holdings_equals_single_holdings(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    let before = index.add_holding(anna, image(5), 5).await.unwrap();
    index.add_holding(ben, image(6), 6).await.unwrap();
    index.quarantine(image(6)).await.unwrap();
    index
        .record_shard(anna, image(7), 7, range(0, 3))
        .await
        .unwrap();
    let batch: Vec<_> = (0..100)
        .rev()
        .map(|number| (image(number), u64::from(number)))
        .collect();
    let receipts = index.add_holdings(anna, batch.clone()).await.unwrap();
    let named: Vec<_> = receipts
        .iter()
        .map(|receipt| (receipt.fingerprint, receipt.size))
        .collect();
    assert_eq!(named, batch, "in the order asked");
    assert_eq!(receipts[94], before, "the receipt of the first time");
    assert_eq!(
        index.add_holdings(anna, batch.clone()).await.unwrap(),
        receipts
    );
    let images: Vec<_> = batch.iter().map(|(image, _)| *image).collect();
    assert_eq!(index.receipts(anna, &images).await.unwrap().len(), 100);
    assert_eq!(
        index.receipts(ben, &images).await.unwrap().len(),
        1,
        "uploaded again, it is intact for all its holders"
    );
    assert!(
        index
            .interrupted_uploads(anna, &images)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        index
            .add_holdings(anna, Vec::new())
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn users_never_see_what_others_hold(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    index.add_holding(anna, image(1), 10).await.unwrap();
    assert!(index.receipts(ben, &[image(1)]).await.unwrap().is_empty());
    let status = index.status(ben).await.unwrap();
    assert_eq!((status.images, status.image_bytes), (0, 0));
    let status = index.status(anna).await.unwrap();
    assert_eq!((status.images, status.image_bytes), (1, 10));
}

pub(super) async fn a_linked_image_is_held_like_any_other(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    index.add_holding(anna, image(1), 10).await.unwrap();
    index
        .record_shard(ben, image(1), 10, range(0, 5))
        .await
        .unwrap();
    let receipt = index.link(ben, image(1)).await.unwrap().unwrap();
    assert_eq!(receipt.size, 10);
    assert_eq!(
        index.receipts(ben, &[image(1)]).await.unwrap()[&image(1)],
        receipt
    );
    assert!(
        index
            .interrupted_uploads(ben, &[image(1)])
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn unknown_and_corrupt_images_are_not_linked(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    assert_eq!(index.link(ben, image(1)).await.unwrap(), None);
    index.add_holding(anna, image(1), 10).await.unwrap();
    index.quarantine(image(1)).await.unwrap();
    assert_eq!(index.link(ben, image(1)).await.unwrap(), None);
    assert!(index.receipts(ben, &[image(1)]).await.unwrap().is_empty());
}

pub(super) async fn a_corrupt_image_has_no_receipts_until_it_is_uploaded_again(
    fixture: &TestIndex,
) {
    let (index, anna, ben) = two_users(fixture).await;
    index.quarantine(image(1)).await.unwrap();
    let first = index.add_holding(anna, image(1), 10).await.unwrap();
    index.quarantine(image(1)).await.unwrap();
    index.quarantine(image(1)).await.unwrap();
    assert_eq!(length_of(&index, image(1)).await, None);
    assert!(index.receipts(anna, &[image(1)]).await.unwrap().is_empty());
    assert_eq!(index.status(anna).await.unwrap().images, 0);
    index.add_holding(ben, image(1), 10).await.unwrap();
    assert_eq!(
        index.receipts(anna, &[image(1)]).await.unwrap()[&image(1)],
        first,
        "healed for everybody"
    );
}

pub(super) async fn a_thousand_images_are_looked_up_in_one_query(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    for number in 0..10 {
        index
            .add_holding(anna, image(number), u64::from(number))
            .await
            .unwrap();
        index
            .record_shard(anna, image(number + 500), 100, range(0, 1))
            .await
            .unwrap();
    }
    for length in [0, 1, 2, 3, 7, 8, 9, 1000] {
        let asked: Vec<Fingerprint> = (0..length).map(image).collect();
        let found = index.receipts(anna, &asked).await.unwrap();
        assert_eq!(found.len(), length.min(10) as usize);
        assert!(
            found
                .iter()
                .all(|(fingerprint, receipt)| receipt.fingerprint == *fingerprint)
        );
        let interrupted = index.interrupted_uploads(anna, &asked).await.unwrap();
        assert_eq!(interrupted.len(), if length == 1000 { 10 } else { 0 });
    }
    let twice = index.receipts(anna, &[image(3), image(3)]).await.unwrap();
    assert_eq!(twice.len(), 1);
}

pub(super) async fn holding_an_image_deletes_its_upload(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    index
        .record_shard(anna, image(1), 10, range(0, 5))
        .await
        .unwrap();
    index
        .record_shard(ben, image(1), 10, range(0, 5))
        .await
        .unwrap();
    index.add_holding(anna, image(1), 10).await.unwrap();
    assert!(
        index
            .interrupted_uploads(anna, &[image(1)])
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        index
            .interrupted_uploads(ben, &[image(1)])
            .await
            .unwrap()
            .len(),
        1,
        "the other user's upload continues"
    );
}
