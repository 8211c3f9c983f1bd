//! Restarts: what survives a stop, and what a kill leaves behind.

use std::time::Duration;

use heirloom_protocol::message::{CheckedImage, UploadState};
use heirloom_protocol::{Fingerprint, route};
use heirloom_server::clock::Clock;
use heirloom_server::config::{DataDir, UPLOAD_EXPIRY};
use heirloom_server::index::Index;

use crate::support::{TestServer, kept, photo, stored};

#[tokio::test]
async fn an_upload_resumes_after_a_restart() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(1, 200_000);
    let before = anna.put(&photo, 0, 120_000).await;
    let installation = anna.session().await.installation;
    let (token, data) = (anna.token.clone(), server.close().await);

    let server = TestServer::restart(data).await;
    let mut anna = server.anonymous();
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
    server.close().await;
}

#[tokio::test]
async fn partial_files_and_upload_records_without_each_other_are_removed() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let (listed, lost) = (photo(1, 200_000), photo(2, 200_000));
    let kept = anna.put(&listed, 0, 100_000).await;
    anna.put(&lost, 0, 100_000).await;
    let user = anna.session().await.user;
    let data = server.close().await;
    let uploads = data.path().join("uploads");
    let unlisted = uploads.join(format!("{user}-{}", Fingerprint::of(b"unlisted")));
    std::fs::write(&unlisted, b"bytes").unwrap();
    std::fs::remove_file(uploads.join(format!("{user}-{}", Fingerprint::of(&lost)))).unwrap();

    let server = TestServer::restart(data).await;
    let anna = server.client("anna").await;
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
    server.close().await;
}

#[tokio::test]
async fn an_image_finished_before_a_kill_and_recorded_after_it_is_not_sent_again() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(1, 200_000);
    let fingerprint = Fingerprint::of(&photo);
    anna.put(&photo, 0, 100_000).await;
    let user = anna.session().await.user;
    let data = server.close().await;
    // The state after a kill between the two steps: the image is stored and its ranges are
    // complete, but it is not recorded.
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

    let server = TestServer::restart(data).await;
    let anna = server.client("anna").await;
    assert!(matches!(
        anna.check(&photo).await,
        CheckedImage::Owned { .. }
    ));
    assert!(anna.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn abandoned_uploads_expire() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(1, 200_000);
    anna.put(&photo, 0, 100_000).await;
    let (mut data, mut clock) = (server.close().await, Clock::default());
    let hour = Duration::from_hours(1);
    for (later, status) in [
        (UPLOAD_EXPIRY.saturating_sub(hour), 200),
        (UPLOAD_EXPIRY + hour, 404),
    ] {
        clock.advance(later);
        let server = TestServer::start_with(data, clock, |_| {}).await;
        let anna = server.client("anna").await;
        assert_eq!(
            anna.get(&route::upload(Fingerprint::of(&photo)))
                .await
                .status,
            status,
            "after {later:?}"
        );
        assert_eq!(kept(&server).is_empty(), status == 404);
        (data, clock) = (server.close().await, Clock::default());
    }
}

#[tokio::test]
async fn two_servers_on_one_directory_make_one_image() {
    let one = TestServer::start().await;
    let other = TestServer::start_second(&one).await;
    let anna = one.client("anna").await;
    let mut elsewhere = anna.clone();
    elsewhere.address = other.address();
    let photo = photo(1, 600_000);
    let (mut receipts, mut sending) = (Vec::new(), tokio::task::JoinSet::new());
    for start in (0..photo.len()).step_by(100_000) {
        for client in [anna.clone(), elsewhere.clone()] {
            let photo = photo.clone();
            sending.spawn(async move { client.put(&photo, start, start + 100_000).await });
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
