//! Removing images while others store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heirloom_protocol::Fingerprint;
use heirloom_server::blobs::{BlobStore, Prefix, RemovedStats, SharedGuard};
use tokio::time::timeout;

use super::{Image, TestStore};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Long enough for something that does not wait.
const SHORT: Duration = Duration::from_millis(200);

/// Two images of one prefix.
fn others() -> (Image, Image) {
    let first = Image::new(1, 1000);
    let second = (2..10_000)
        .map(|seed| Image::new(seed, 1000))
        .find(|image| image.prefix() == first.prefix());
    (first, second.expect("there is one among a few hundred"))
}

async fn remove(blobs: &dyn BlobStore, images: Vec<Fingerprint>) -> RemovedStats {
    let exclusive = blobs
        .try_lock_exclusive(Prefix::of(images[0]))
        .await
        .unwrap()
        .expect("no guard is held");
    blobs.remove(exclusive, images).await.unwrap()
}

pub(super) async fn removing_an_image_removes_its_quarantined_copy_too(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let (image, neighbour) = others();
    image.store(&*blobs).await.unwrap();
    neighbour.store(&*blobs).await.unwrap();
    assert_eq!(
        remove(&*blobs, vec![image.fingerprint]).await,
        RemovedStats {
            images: 1,
            bytes: 1000
        }
    );
    image.assert_absent(&*blobs).await;
    neighbour.assert_stored(&*blobs).await;
    assert_eq!(
        remove(&*blobs, vec![image.fingerprint]).await,
        RemovedStats::default(),
        "twice is fine"
    );

    image.store(&*blobs).await.unwrap();
    fixture.damage(&image);
    blobs.quarantine(image.fingerprint).await.unwrap();
    image.store(&*blobs).await.unwrap();
    let both = remove(&*blobs, vec![image.fingerprint, neighbour.fingerprint]).await;
    assert_eq!(
        both,
        RemovedStats {
            images: 2,
            bytes: 3000
        },
        "the quarantined bytes, too"
    );
    assert_eq!(
        std::fs::read_dir(fixture.data.quarantine())
            .unwrap()
            .count(),
        0
    );
    image.store(&*fixture.open().await).await.unwrap();
    image.assert_stored(&*blobs).await;
}

pub(super) async fn a_stored_image_is_protected_until_its_guard_is_dropped(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let image = Image::new(1, 1000);
    for way in ["whole", "batch", "finished", "finished before"] {
        let guard: SharedGuard = match way {
            "whole" => blobs
                .store(image.fingerprint, image.size(), image.body(100))
                .await
                .unwrap(),
            "batch" => {
                blobs
                    .store_batch(vec![(image.fingerprint, image.bytes.clone())])
                    .await
                    .unwrap()
                    .guard
            }
            "finished" => {
                image.write(&*blobs, 1, 0, 1000).await;
                blobs.finish(image.key(1), 1000).await.unwrap()
            }
            _ => {
                image.write(&*blobs, 1, 0, 1000).await;
                drop(blobs.finish(image.key(1), 1000).await.unwrap());
                blobs.finish(image.key(1), 1000).await.unwrap()
            }
        };
        // Another process, as the administrator's command is one.
        for somebody in [&blobs, &fixture.open().await] {
            assert!(
                somebody
                    .try_lock_exclusive(image.prefix())
                    .await
                    .unwrap()
                    .is_none(),
                "{way}"
            );
            let elsewhere = Prefix::from_byte(image.prefix().byte() ^ 1);
            assert!(
                somebody
                    .try_lock_exclusive(elsewhere)
                    .await
                    .unwrap()
                    .is_some(),
                "{way}"
            );
        }
        drop(guard);
        assert_eq!(
            remove(&*blobs, vec![image.fingerprint]).await.images,
            1,
            "{way}"
        );
        let gone = blobs.finish(image.key(1), 1000).await.unwrap_err();
        assert!(
            matches!(gone, heirloom_server::blobs::BlobError::Missing(_)),
            "{way}: {gone}"
        );
    }
}

pub(super) async fn stores_wait_while_their_prefix_is_locked(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let (image, neighbour) = others();
    image.store(&*blobs).await.unwrap();
    let elsewhere = (2..10_000)
        .map(|seed| Image::new(seed, 1000))
        .find(|other| other.prefix() != image.prefix())
        .unwrap();
    let exclusive = fixture
        .open()
        .await
        .try_lock_exclusive(image.prefix())
        .await
        .unwrap()
        .expect("no guard is held");
    assert!(
        blobs
            .try_lock_exclusive(image.prefix())
            .await
            .unwrap()
            .is_none(),
        "one at a time"
    );
    elsewhere.store(&*blobs).await.unwrap();
    let mut storing = Box::pin(neighbour.store(&*blobs));
    let mut again = Box::pin(image.store(&*blobs));
    assert!(timeout(SHORT, &mut storing).await.is_err(), "it waits");
    assert!(timeout(SHORT, &mut again).await.is_err(), "it waits");
    assert_eq!(
        blobs
            .remove(exclusive, vec![image.fingerprint])
            .await
            .unwrap()
            .images,
        1
    );
    timeout(LIMIT, storing).await.unwrap().unwrap();
    timeout(LIMIT, again).await.unwrap().unwrap();
    image.assert_stored(&*blobs).await;
    neighbour.assert_stored(&*blobs).await;
}

pub(super) async fn stored_images_are_listed_with_their_age(fixture: &TestStore) {
    let blobs = fixture.open().await;
    let (image, neighbour) = others();
    assert_eq!(blobs.list(image.prefix()).await.unwrap(), []);
    image.store(&*blobs).await.unwrap();
    neighbour.store(&*blobs).await.unwrap();
    std::fs::write(
        fixture
            .data
            .images()
            .join(&image.fingerprint.to_string()[..2])
            .join("README"),
        "hers",
    )
    .unwrap();
    let mut stored = blobs.list(image.prefix()).await.unwrap();
    stored.sort_by_key(|image| image.fingerprint);
    let mut expected = [image.fingerprint, neighbour.fingerprint];
    expected.sort();
    assert_eq!(
        stored
            .iter()
            .map(|image| image.fingerprint)
            .collect::<Vec<_>>(),
        expected
    );
    let now_ms = i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap();
    assert!(
        stored
            .iter()
            .all(|image| (now_ms - 60_000..=now_ms).contains(&image.since_ms)),
        "{stored:?}"
    );
}
