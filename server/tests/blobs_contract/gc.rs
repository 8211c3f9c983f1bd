//! Removing images, while others store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heirloom_protocol::Fingerprint;
use heirloom_server::blobs::{Blobs, Prefix, RemovedStats, SharedGuard};
use tokio::time::timeout;

use super::{Image, Place};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Long enough for something that does not wait.
const SHORT: Duration = Duration::from_millis(200);

/// Two images of one section.
fn neighbours() -> (Image, Image) {
    let first = Image::new(1, 1000);
    let second = (2..10_000)
        .map(|seed| Image::new(seed, 1000))
        .find(|image| image.section() == first.section());
    (first, second.expect("there is one among a few hundred"))
}

async fn remove(blobs: &dyn Blobs, images: Vec<Fingerprint>) -> RemovedStats {
    let alone = blobs
        .try_lock_exclusive(Prefix::of(images[0]))
        .await
        .unwrap()
        .expect("nobody is storing");
    blobs.remove(alone, images).await.unwrap()
}

pub(super) async fn a_removed_image_is_gone_wherever_it_stood(place: &Place) {
    let blobs = place.open().await;
    let (image, beside) = neighbours();
    image.store(&*blobs).await.unwrap();
    beside.store(&*blobs).await.unwrap();
    assert_eq!(
        remove(&*blobs, vec![image.fingerprint]).await,
        RemovedStats {
            images: 1,
            bytes: 1000
        }
    );
    image.assert_absent(&*blobs).await;
    beside.assert_stored(&*blobs).await;
    assert_eq!(
        remove(&*blobs, vec![image.fingerprint]).await,
        RemovedStats::default(),
        "twice is fine"
    );

    image.store(&*blobs).await.unwrap();
    place.damage(&image);
    blobs.quarantine(image.fingerprint).await.unwrap();
    image.store(&*blobs).await.unwrap();
    let both = remove(&*blobs, vec![image.fingerprint, beside.fingerprint]).await;
    assert_eq!(
        both,
        RemovedStats {
            images: 2,
            bytes: 3000
        },
        "the damaged bytes, too"
    );
    assert_eq!(
        std::fs::read_dir(place.data.quarantine()).unwrap().count(),
        0
    );
    image.store(&*place.open().await).await.unwrap();
    image.assert_stored(&*blobs).await;
}

pub(super) async fn what_was_just_stored_stays_until_its_stay_ends(place: &Place) {
    let blobs = place.open().await;
    let image = Image::new(1, 1000);
    for way in ["whole", "several", "sealed", "sealed before"] {
        let guard: SharedGuard = match way {
            "whole" => blobs
                .store(image.fingerprint, image.size(), image.body(100))
                .await
                .unwrap(),
            "several" => {
                blobs
                    .store_batch(vec![(image.fingerprint, image.bytes.clone())])
                    .await
                    .unwrap()
                    .guard
            }
            "sealed" => {
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
        for somebody in [&blobs, &place.open().await] {
            assert!(
                somebody
                    .try_lock_exclusive(image.section())
                    .await
                    .unwrap()
                    .is_none(),
                "{way}"
            );
            let elsewhere = Prefix::of_byte(image.section().first_byte() ^ 1);
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

pub(super) async fn nobody_stores_where_somebody_removes(place: &Place) {
    let blobs = place.open().await;
    let (image, beside) = neighbours();
    image.store(&*blobs).await.unwrap();
    let elsewhere = (2..10_000)
        .map(|seed| Image::new(seed, 1000))
        .find(|other| other.section() != image.section())
        .unwrap();
    let alone = place
        .open()
        .await
        .try_lock_exclusive(image.section())
        .await
        .unwrap()
        .expect("nobody is storing");
    assert!(
        blobs
            .try_lock_exclusive(image.section())
            .await
            .unwrap()
            .is_none(),
        "one at a time"
    );
    elsewhere.store(&*blobs).await.unwrap();
    let mut storing = Box::pin(beside.store(&*blobs));
    let mut again = Box::pin(image.store(&*blobs));
    assert!(timeout(SHORT, &mut storing).await.is_err(), "it waits");
    assert!(timeout(SHORT, &mut again).await.is_err(), "it waits");
    assert_eq!(
        blobs
            .remove(alone, vec![image.fingerprint])
            .await
            .unwrap()
            .images,
        1
    );
    timeout(LIMIT, storing).await.unwrap().unwrap();
    timeout(LIMIT, again).await.unwrap().unwrap();
    image.assert_stored(&*blobs).await;
    beside.assert_stored(&*blobs).await;
}

pub(super) async fn what_stands_is_listed_with_its_age(place: &Place) {
    let blobs = place.open().await;
    let (image, beside) = neighbours();
    assert_eq!(blobs.list(image.section()).await.unwrap(), []);
    image.store(&*blobs).await.unwrap();
    beside.store(&*blobs).await.unwrap();
    std::fs::write(
        place
            .data
            .images()
            .join(&image.fingerprint.to_string()[..2])
            .join("README"),
        "hers",
    )
    .unwrap();
    let mut standing = blobs.list(image.section()).await.unwrap();
    standing.sort_by_key(|image| image.fingerprint);
    let mut expected = [image.fingerprint, beside.fingerprint];
    expected.sort();
    assert_eq!(
        standing
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
        standing
            .iter()
            .all(|image| (now_ms - 60_000..=now_ms).contains(&image.since_ms)),
        "{standing:?}"
    );
}
