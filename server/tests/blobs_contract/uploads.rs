//! Images that arrive in shards.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::future;
use heirloom_server::blobs::BlobError;

use super::{Image, TestStore};

pub(super) async fn shards_in_any_order_become_the_image(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1_000_000);
    for (start, end) in [
        (900_000, 1_000_000),
        (0, 300_000),
        (200_000, 650_000),
        (0, 1),
        (650_000, 900_000),
        (200_000, 650_000),
    ] {
        image.assert_absent(&*blobs).await;
        image.write(&*blobs, 1, start, end).await;
    }
    drop(blobs.finish(image.key(1), image.size()).await.unwrap());
    image.assert_stored(&*blobs).await;
    assert!(blobs.uploads().await.unwrap().is_empty());
}

pub(super) async fn shards_written_concurrently_become_the_image(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1_600_000);
    // Each shard twice and overlapping its neighbours, as two devices would send them.
    let writes = (0..32).map(|shard| {
        let start = shard % 16 * 100_000;
        image.write(&*blobs, 1, start, (start + 130_000).min(1_600_000))
    });
    future::join_all(writes).await;
    drop(blobs.finish(image.key(1), image.size()).await.unwrap());
    image.assert_stored(&*blobs).await;
}

pub(super) async fn finishing_twice_is_fine(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1000);
    image.write(&*blobs, 1, 0, 1000).await;
    for _ in 0..3 {
        drop(blobs.finish(image.key(1), 1000).await.unwrap());
        image.assert_stored(&*blobs).await;
    }
    blobs.finish(image.key(1), 1001).await.unwrap_err();
}

pub(super) async fn finishing_without_an_upload_fails(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1000);
    let error = blobs.finish(image.key(1), 1000).await.unwrap_err();
    assert!(matches!(error, BlobError::Missing(_)), "{error}");
    image.assert_absent(&*blobs).await;
}

pub(super) async fn finishing_wrong_content_leaves_no_image(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let (image, other) = (Image::new(1, 1000), Image::new(2, 1000));
    blobs
        .write(image.key(1), 0, other.bytes.clone())
        .await
        .unwrap();
    for _ in 0..2 {
        let error = blobs.finish(image.key(1), 1000).await.unwrap_err();
        assert!(
            matches!(error, BlobError::WrongFingerprint { expected, found }
                if expected == image.fingerprint && found == other.fingerprint),
            "{error}"
        );
        image.assert_absent(&*blobs).await;
    }
    blobs.discard(image.key(1)).await.unwrap();
    image.write(&*blobs, 1, 0, 1000).await;
    drop(blobs.finish(image.key(1), 1000).await.unwrap());
    image.assert_stored(&*blobs).await;
}

pub(super) async fn finishing_a_wrong_length_leaves_no_image(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1000);
    image.write(&*blobs, 1, 0, 999).await;
    let error = blobs.finish(image.key(1), 1000).await.unwrap_err();
    assert!(
        matches!(
            error,
            BlobError::WrongLength {
                expected: 1000,
                found: 999
            }
        ),
        "{error}"
    );
    blobs
        .write(image.key(1), 999, Bytes::from_static(b"too much"))
        .await
        .unwrap();
    let error = blobs.finish(image.key(1), 1000).await.unwrap_err();
    assert!(
        matches!(
            error,
            BlobError::WrongLength {
                expected: 1000,
                found: 1007
            }
        ),
        "{error}"
    );
    image.assert_absent(&*blobs).await;
}

pub(super) async fn users_never_share_an_upload(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1000);
    image.write(&*blobs, 1, 0, 500).await;
    image.write(&*blobs, 2, 500, 1000).await;
    assert!(matches!(
        blobs.finish(image.key(2), 1000).await,
        Err(BlobError::WrongFingerprint { .. })
    ));
    assert!(matches!(
        blobs.finish(image.key(1), 1000).await,
        Err(BlobError::WrongLength { .. })
    ));
    let uploads: HashSet<_> = blobs.uploads().await.unwrap().into_iter().collect();
    assert_eq!(uploads, HashSet::from([image.key(1), image.key(2)]));
    blobs.discard(image.key(1)).await.unwrap();
    assert_eq!(blobs.uploads().await.unwrap(), [image.key(2)]);
}

pub(super) async fn discarding_twice_is_fine(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1000);
    image.write(&*blobs, 1, 0, 500).await;
    for _ in 0..2 {
        blobs.discard(image.key(1)).await.unwrap();
        assert!(blobs.uploads().await.unwrap().is_empty());
    }
    // Begun anew, nothing of the old one is left.
    image.write(&*blobs, 1, 500, 1000).await;
    assert!(matches!(
        blobs.finish(image.key(1), 1000).await,
        Err(BlobError::WrongFingerprint { .. })
    ));
}

pub(super) async fn reopening_keeps_uploads(fixture: &TestStore) {
    let image = Image::new(1, 1000);
    image.write(&*fixture.open().await, 1, 0, 500).await;
    let blobs = fixture.open().await;
    assert_eq!(blobs.uploads().await.unwrap(), [image.key(1)]);
    image.write(&*blobs, 1, 500, 1000).await;
    drop(blobs.finish(image.key(1), 1000).await.unwrap());
    image.assert_stored(&*blobs).await;
}

pub(super) async fn a_late_shard_never_reaches_the_image(fixture: &TestStore) {
    let blobs = fixture.open().await;
    for round in 0..50 {
        let image = Image::new(round, 200_000);
        image.write(&*blobs, 1, 0, 200_000).await;
        let other_bytes = || blobs.write(image.key(1), 1000, Bytes::from_static(&[7; 5000]));
        let finish = blobs.finish(image.key(1), image.size());
        let (finished, first, second) = tokio::join!(finish, other_bytes(), other_bytes());
        first.and(second).unwrap();
        match finished {
            Ok(_guard) => image.assert_stored(&*blobs).await,
            Err(BlobError::WrongFingerprint { .. }) => image.assert_absent(&*blobs).await,
            Err(error) => panic!("round {round}: {error}"),
        }
        blobs.discard(image.key(1)).await.unwrap();
    }
}

pub(super) async fn eight_concurrent_finishes_succeed(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 500_000);
    for user in 1..=4 {
        image.write(&*blobs, user, 0, 500_000).await;
    }
    let finishes = (0..8).map(|number| blobs.finish(image.key(number % 4 + 1), image.size()));
    for finished in future::join_all(finishes).await {
        drop(finished.unwrap());
    }
    image.assert_stored(&*blobs).await;
    assert!(blobs.uploads().await.unwrap().is_empty());
}
