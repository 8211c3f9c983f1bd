//! Images that arrive whole.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use heirloom_protocol::ByteRange;
use heirloom_server::blobs::BlobError;

use super::{Image, TestStore, disconnecting, read};

pub(super) async fn a_stored_image_is_read_back_byte_for_byte(fixture: &TestStore) {
    let blobs = fixture.open().await;
    for (seed, length) in [0, 1, 100_000, 512 << 10, (512 << 10) + 1, 3_000_001]
        .into_iter()
        .enumerate()
    {
        let image = Image::new(seed as u64, length);
        image.assert_absent(&*blobs).await;
        image.store(&*blobs).await.unwrap();
        image.assert_stored(&*blobs).await;
    }
    let in_crumbs = Image::new(100, 5000);
    drop(
        blobs
            .store(in_crumbs.fingerprint, 5000, in_crumbs.body(1))
            .await
            .unwrap(),
    );
    in_crumbs.assert_stored(&*blobs).await;
    let at_once = Image::new(101, 4 << 20);
    drop(
        blobs
            .store(at_once.fingerprint, at_once.size(), at_once.body(4 << 20))
            .await
            .unwrap(),
    );
    at_once.assert_stored(&*blobs).await;
    assert!(blobs.uploads().await.unwrap().is_empty());
}

pub(super) async fn any_range_of_an_image_can_be_read(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1_000_000);
    image.store(&*blobs).await.unwrap();
    for (start, end) in [
        (0, 1),
        (999_999, 1_000_000),
        (5, 700_000),
        (262_144, 524_288),
        (262_143, 262_145),
    ] {
        let found = read(
            &*blobs,
            image.fingerprint,
            ByteRange::new(start as u64, end as u64).unwrap(),
        )
        .await
        .unwrap();
        assert!(found == image.bytes[start..end], "{start}..{end}");
    }
    let beyond = read(
        &*blobs,
        image.fingerprint,
        ByteRange::new(5, 1_000_001).unwrap(),
    )
    .await;
    assert!(
        matches!(
            beyond,
            Err(BlobError::TooShort {
                found: 1_000_000,
                ..
            })
        ),
        "{beyond:?}"
    );
}

pub(super) async fn storing_an_image_again_is_fine(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 100_000);
    for _ in 0..3 {
        image.store(&*blobs).await.unwrap();
        image.assert_stored(&*blobs).await;
    }
}

pub(super) async fn wrong_content_leaves_nothing(fixture: &TestStore) {
    let blobs = fixture.open().await;
    for length in [1000, 2_000_000] {
        let (wanted, sent) = (Image::new(1, length), Image::new(2, length));
        let error = blobs
            .store(wanted.fingerprint, wanted.size(), sent.body(60_000))
            .await
            .unwrap_err();
        assert!(
            matches!(error, BlobError::WrongFingerprint { expected, found }
                if expected == wanted.fingerprint && found == sent.fingerprint),
            "{error}"
        );
        wanted.assert_absent(&*blobs).await;
        sent.assert_absent(&*blobs).await;
    }
}

pub(super) async fn a_wrong_length_leaves_nothing(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 2_000_000);
    for announced in [0, 1, image.size() - 1] {
        let error = blobs
            .store(image.fingerprint, announced, image.body(60_000))
            .await
            .unwrap_err();
        assert!(
            matches!(error, BlobError::WrongLength { expected, .. } if expected == announced),
            "{error}"
        );
        image.assert_absent(&*blobs).await;
    }
}

pub(super) async fn a_batch_is_stored(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let images: Vec<Image> = (0..64_u16)
        .map(|seed| Image::new(seed.into(), 1 + 1000 * usize::from(seed)))
        .collect();
    for _ in 0..2 {
        let batch = images
            .iter()
            .map(|image| (image.fingerprint, image.bytes.clone()))
            .collect();
        assert!(
            blobs
                .store_batch(batch)
                .await
                .unwrap()
                .mismatched
                .is_empty()
        );
    }
    assert!(
        blobs
            .store_batch(Vec::new())
            .await
            .unwrap()
            .mismatched
            .is_empty()
    );
    for image in &images {
        image.assert_stored(&*blobs).await;
    }
    assert!(blobs.uploads().await.unwrap().is_empty());
}

pub(super) async fn only_mismatched_images_of_a_batch_are_left_out(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let (intact, mismatched, sent) = (
        Image::new(1, 5000),
        Image::new(2, 5000),
        Image::new(3, 5000),
    );
    let batch = vec![
        (mismatched.fingerprint, sent.bytes.clone()),
        (intact.fingerprint, intact.bytes.clone()),
    ];
    assert_eq!(
        blobs.store_batch(batch).await.unwrap().mismatched,
        [mismatched.fingerprint].into()
    );
    intact.assert_stored(&*blobs).await;
    mismatched.assert_absent(&*blobs).await;
    sent.assert_absent(&*blobs).await;
    // A stored image is not harmed.
    let batch = blobs
        .store_batch(vec![(intact.fingerprint, sent.bytes)])
        .await
        .unwrap();
    assert_eq!(batch.mismatched, [intact.fingerprint].into());
    intact.assert_stored(&*blobs).await;
}

pub(super) async fn a_sender_that_disconnects_leaves_nothing(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 2_000_000);
    for arrived in [0, 1000, 1_900_000, 2_000_000] {
        let body = disconnecting(&image.bytes.slice(..arrived));
        let error = blobs
            .store(image.fingerprint, image.size(), body)
            .await
            .unwrap_err();
        assert!(matches!(error, BlobError::Sender { .. }), "{error}");
        assert!(error.is_transient());
        image.assert_absent(&*blobs).await;
    }
}

pub(super) async fn wrong_content_does_not_harm_a_stored_image(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let (image, other) = (Image::new(1, 100_000), Image::new(2, 100_000));
    image.store(&*blobs).await.unwrap();
    blobs
        .store(image.fingerprint, image.size(), other.body(60_000))
        .await
        .unwrap_err();
    blobs
        .store(
            image.fingerprint,
            image.size(),
            disconnecting(&image.bytes.slice(..5)),
        )
        .await
        .unwrap_err();
    image.assert_stored(&*blobs).await;
}

pub(super) async fn eight_concurrent_stores_of_one_image_succeed(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1_500_000);
    let stores = future::join_all((0..8).map(|_| image.store(&*blobs))).await;
    stores.into_iter().for_each(Result::unwrap);
    image.assert_stored(&*blobs).await;
    let others: Vec<_> = (10..18).map(|seed| Image::new(seed, 100_000)).collect();
    let stores = future::join_all(others.iter().map(|image| image.store(&*blobs))).await;
    stores.into_iter().for_each(Result::unwrap);
    for image in others {
        image.assert_stored(&*blobs).await;
    }
}

pub(super) async fn a_store_dropped_half_way_leaves_nothing(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 2_000_000);
    for arrived in [0, 1000, 600_000, 1_999_999] {
        let never_ending = stream::iter([Ok(image.bytes.slice(..arrived))])
            .chain(stream::pending())
            .boxed();
        let store = blobs.store(image.fingerprint, image.size(), never_ending);
        let dropped = tokio::time::timeout(Duration::from_millis(20), store).await;
        assert!(dropped.is_err(), "the body never ends");
        image.assert_absent(&*blobs).await;
    }
    assert!(blobs.uploads().await.unwrap().is_empty());
    image.store(&*blobs).await.unwrap();
    image.assert_stored(&*blobs).await;
}

pub(super) async fn reopening_keeps_images(fixture: &TestStore) {
    let image = Image::new(1, 700_000);
    image.store(&*fixture.open().await).await.unwrap();
    image.assert_stored(&*fixture.open().await).await;
}

pub(super) async fn a_corrupt_image_is_quarantined_and_can_be_stored_again(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 100_000);
    blobs.quarantine(image.fingerprint).await.unwrap();
    for _ in 0..2 {
        image.store(&*blobs).await.unwrap();
        fixture.damage(&image);
        blobs.quarantine(image.fingerprint).await.unwrap();
        image.assert_absent(&*blobs).await;
        blobs.quarantine(image.fingerprint).await.unwrap();
    }
    image.store(&*blobs).await.unwrap();
    image.assert_stored(&*blobs).await;
}

pub(super) async fn storing_a_corrupt_image_again_repairs_it(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 100_000);
    image.store(&*blobs).await.unwrap();
    fixture.damage(&image);
    image.store(&*blobs).await.unwrap();
    image.assert_stored(&*blobs).await;
}

pub(super) async fn an_intact_image_is_not_quarantined(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 100_000);
    image.store(&*blobs).await.unwrap();
    blobs.quarantine(image.fingerprint).await.unwrap();
    image.assert_stored(&*blobs).await;
}

pub(super) async fn a_reader_is_not_disturbed_by_a_new_copy(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 3_000_000);
    image.store(&*blobs).await.unwrap();
    let mut reading = blobs
        .read(image.fingerprint, ByteRange::new(0, image.size()).unwrap())
        .await
        .unwrap();
    let mut found = reading.next().await.unwrap().unwrap().to_vec();
    image.store(&*blobs).await.unwrap();
    while let Some(piece) = reading.try_next().await.unwrap() {
        found.extend_from_slice(&piece);
    }
    assert!(found == image.bytes);
}
