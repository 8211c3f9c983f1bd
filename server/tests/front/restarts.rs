//! What outlives a stop, and what a stop in the middle leaves behind.

use std::time::Duration;

use heirloom_protocol::message::{CheckedImage, UploadState};
use heirloom_protocol::{Fingerprint, route};
use heirloom_server::clock::Clock;
use heirloom_server::config::{DataDir, UPLOAD_EXPIRY};
use heirloom_server::index::Index;

use crate::support::{House, kept, photo, stored};

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let photo = photo(1, 200_000);
    let before = anna.put(&photo, 0, 120_000).await;
    let installation = anna.session().await.installation;
    let (token, data) = (anna.token.clone(), house.close().await);

    let house = House::open_again(data).await;
    let mut anna = house.stranger();
    anna.token = token;
    assert_eq!(anna.session().await.installation, installation);
    assert_eq!(
        anna.get(&route::upload(Fingerprint::of(&photo)))
            .await
            .json::<UploadState>(),
        before
    );
    stored(anna.put(&photo, 120_000, 200_000).await);
    assert!(anna.has(&photo).await);
    house.close().await;
}

#[tokio::test]
async fn bytes_that_no_list_knows_are_swept_and_a_list_without_bytes_is_forgotten() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let (listed, lost) = (photo(1, 200_000), photo(2, 200_000));
    let kept = anna.put(&listed, 0, 100_000).await;
    anna.put(&lost, 0, 100_000).await;
    let user = anna.session().await.user;
    let data = house.close().await;
    let uploads = data.path().join("uploads");
    let unlisted = uploads.join(format!("{user}-{}", Fingerprint::of(b"unlisted")));
    std::fs::write(&unlisted, b"bytes").unwrap();
    std::fs::remove_file(uploads.join(format!("{user}-{}", Fingerprint::of(&lost)))).unwrap();

    let house = House::open_again(data).await;
    let anna = house.guest("anna").await;
    assert!(!unlisted.exists());
    assert_eq!(
        anna.check(&lost).await,
        CheckedImage::Absent {
            fingerprint: Fingerprint::of(&lost)
        }
    );
    assert_eq!(
        anna.get(&route::upload(Fingerprint::of(&listed)))
            .await
            .json::<UploadState>(),
        kept
    );
    house.close().await;
}

#[tokio::test]
async fn an_image_sealed_before_a_kill_and_recorded_after_it_is_not_sent_again() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let photo = photo(1, 200_000);
    let fingerprint = Fingerprint::of(&photo);
    anna.put(&photo, 0, 100_000).await;
    let user = anna.session().await.user;
    let data = house.close().await;
    // As a kill between the two leaves it: the image stands, the list is full, nothing is recorded.
    let name = fingerprint.to_string();
    let folder = data.path().join("images").join(&name[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(&name), &photo).unwrap();
    std::fs::remove_file(data.path().join("uploads").join(format!("{user}-{name}"))).unwrap();
    let index = Index::open(&DataDir::open(data.path()).unwrap().index_url())
        .await
        .unwrap();
    let rest = heirloom_protocol::ByteRange::new(100_000, 200_000).unwrap();
    index
        .record_shard(user, fingerprint, 200_000, rest)
        .await
        .unwrap();
    index.close().await;

    let house = House::open_again(data).await;
    let anna = house.guest("anna").await;
    assert!(matches!(
        anna.check(&photo).await,
        CheckedImage::Owned { .. }
    ));
    assert!(anna.has(&photo).await);
    house.close().await;
}

#[tokio::test]
async fn uploads_nobody_comes_back_for_expire() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let photo = photo(1, 200_000);
    anna.put(&photo, 0, 100_000).await;
    let (mut data, mut clock) = (house.close().await, Clock::default());
    let hour = Duration::from_hours(1);
    for (later, status) in [
        (UPLOAD_EXPIRY.saturating_sub(hour), 200),
        (UPLOAD_EXPIRY + hour, 404),
    ] {
        clock.advance(later);
        let house = House::open_with(data, clock, |_| {}).await;
        let anna = house.guest("anna").await;
        assert_eq!(
            anna.get(&route::upload(Fingerprint::of(&photo)))
                .await
                .status,
            status,
            "after {later:?}"
        );
        assert_eq!(kept(&house).is_empty(), status == 404);
        (data, clock) = (house.close().await, Clock::default());
    }
}

#[tokio::test]
async fn two_servers_on_one_directory_make_one_image() {
    let one = House::open().await;
    let other = House::open_beside(&one).await;
    let anna = one.guest("anna").await;
    let mut elsewhere = anna.clone();
    elsewhere.address = other.address();
    let photo = photo(1, 600_000);
    let (mut receipts, mut sending) = (Vec::new(), tokio::task::JoinSet::new());
    for start in (0..photo.len()).step_by(100_000) {
        for guest in [anna.clone(), elsewhere.clone()] {
            let photo = photo.clone();
            sending.spawn(async move { guest.put(&photo, start, start + 100_000).await });
        }
    }
    for state in sending.join_all().await {
        if let UploadState::Stored { receipt } = state {
            receipts.push(receipt);
        }
    }
    assert!(receipts.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(anna.has(&photo).await && elsewhere.has(&photo).await);
    other.stop().await.unwrap();
    one.close().await;
}
