//! Shards make up the image, in whatever order, overlap or concurrency they arrive.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heirloom_protocol::message::{CheckedImage, UploadState};
use heirloom_protocol::{ByteRange, ContentDigest, ErrorCode, Fingerprint, RangeSet, route};
use http_body_util::Full;
use hyper::{Request, StatusCode};

use crate::support::{Client, TestServer, kept, photo, stored, unsigned};

#[tokio::test]
async fn shards_in_any_order_overlapping_and_repeated_make_the_image() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let server = TestServer::start().await;
        let anna = server.client("anna").await;
        let photo = photo(seed, random.usize(2..60_000));
        let mut sent = RangeSet::new();
        let receipt = loop {
            let start = random.usize(..photo.len());
            let end = random.usize(start + 1..=photo.len());
            sent.insert(ByteRange::new(start as u64, end as u64).unwrap());
            match anna.put(&photo, start, end).await {
                UploadState::Receiving { size, received } => {
                    assert_eq!(
                        (size, &received),
                        (photo.len() as u64, &sent),
                        "seed {seed}"
                    );
                    // Near the end, random shards alone would take too long.
                    let gap = received.missing(size).iter().next().unwrap();
                    let (from, to) = (
                        usize::try_from(gap.start()).unwrap(),
                        usize::try_from(gap.end()).unwrap(),
                    );
                    if let UploadState::Stored { receipt } = anna.put(&photo, from, to).await {
                        break receipt;
                    }
                    sent.insert(gap);
                }
                UploadState::Stored { receipt } => break receipt,
            }
        };
        assert_eq!(receipt.size, photo.len() as u64, "seed {seed}");
        assert!(anna.has(&photo).await, "seed {seed}");
        assert_eq!(
            kept(&server).len(),
            1,
            "seed {seed}: only the image is stored"
        );
        server.close().await;
    }
}

#[tokio::test]
async fn two_devices_that_send_everything_concurrently_get_one_receipt() {
    let server = TestServer::start().await;
    let phone = server.client("anna").await;
    let camera = server.client("anna").await;
    assert_ne!(phone.token, camera.token);
    let photo = Arc::new(photo(1, 1_000_000));
    let mut sending = tokio::task::JoinSet::new();
    for device in [&phone, &camera] {
        for start in (0..photo.len()).step_by(70_000) {
            let (device, photo) = (Client::clone(device), Arc::clone(&photo));
            sending.spawn(async move {
                device
                    .put(&photo, start, (start + 100_000).min(photo.len()))
                    .await
            });
        }
    }
    let receipt = |state| match state {
        UploadState::Stored { receipt } => Some(receipt),
        UploadState::Receiving { .. } => None,
    };
    let receipts: Vec<_> = sending
        .join_all()
        .await
        .into_iter()
        .filter_map(receipt)
        .collect();
    assert!(
        !receipts.is_empty(),
        "the shard that completed the image got the receipt"
    );
    assert!(receipts.iter().all(|receipt| receipt == &receipts[0]));
    assert!(phone.has(&photo).await && camera.has(&photo).await);
    assert_eq!(kept(&server).len(), 1);
    server.close().await;
}

#[tokio::test]
async fn one_image_sent_whole_and_in_parts_at_once_is_stored_once() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(2, 400_000);
    anna.put(&photo, 0, 100_000).await;
    let (whole, part) = tokio::join!(
        anna.put(&photo, 0, photo.len()),
        anna.put(&photo, 100_000, 300_000)
    );
    let receipt = stored(whole);
    assert!(matches!(part, UploadState::Receiving { .. }) || stored(part) == receipt);
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Owned {
            receipt: unsigned(receipt)
        }
    );
    assert_eq!(
        kept(&server).len(),
        1,
        "the partial files are removed once the image is complete"
    );
    server.close().await;
}

#[tokio::test]
async fn two_users_never_share_an_upload() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(3, 200_000);
    anna.put(&photo, 0, 100_000).await;
    let half = ben.put(&photo, 100_000, 200_000).await;
    let received = RangeSet::from(ByteRange::new(100_000, 200_000).unwrap());
    assert_eq!(
        half,
        UploadState::Receiving {
            size: 200_000,
            received
        }
    );
    stored(ben.put(&photo, 0, 100_000).await);
    // Ben's image does not complete Anna's upload, and her half is still there.
    assert!(!anna.has(&photo).await);
    stored(anna.put(&photo, 100_000, 200_000).await);
    assert!(anna.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn a_damaged_shard_is_rejected_and_nothing_of_it_is_kept() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(4, 200_000);
    let (fingerprint, size) = (Fingerprint::of(&photo), photo.len() as u64);
    let digest = ContentDigest::of(b"other bytes");
    for (start, end) in [(0, 100_000), (0, 200_000)] {
        let response = anna
            .put_with_digest(fingerprint, size, start, &photo[start..end], digest)
            .await;
        assert_eq!(response.code(), ErrorCode::DigestMismatch, "{start}..{end}");
    }
    // The digest of a whole image is its fingerprint; these bytes match neither.
    let mut damaged = photo.clone();
    damaged[77] ^= 1;
    let response = anna
        .put_with_digest(
            fingerprint,
            size,
            0,
            &damaged,
            ContentDigest::from(fingerprint),
        )
        .await;
    assert_eq!(response.code(), ErrorCode::DigestMismatch);
    assert_eq!(kept(&server), Vec::<String>::new());
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Absent { fingerprint }
    );
    server.close().await;
}

#[tokio::test]
async fn bytes_that_do_not_match_the_fingerprint_are_discarded() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let (photo, other) = (photo(5, 200_000), photo(6, 200_000));
    let (fingerprint, size) = (Fingerprint::of(&photo), 200_000);
    // In one shard.
    assert_eq!(
        anna.put_raw(fingerprint, size, 0, &other).await.code(),
        ErrorCode::FingerprintMismatch
    );
    // In two shards, each of them valid by itself.
    assert_eq!(
        anna.put_raw(fingerprint, size, 0, &photo[..100_000])
            .await
            .status,
        StatusCode::OK
    );
    let mixed = anna
        .put_raw(fingerprint, size, 100_000, &other[100_000..])
        .await;
    assert_eq!(mixed.code(), ErrorCode::FingerprintMismatch);
    assert_eq!(kept(&server), Vec::<String>::new());
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Absent { fingerprint }
    );
    // Starting over works.
    anna.put(&photo, 0, 100_000).await;
    stored(anna.put(&photo, 100_000, 200_000).await);
    server.close().await;
}

#[tokio::test]
async fn a_late_shard_with_other_bytes_cannot_overwrite_what_was_acknowledged() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let (photo, other) = (photo(7, 200_000), photo(8, 200_000));
    let (fingerprint, size) = (Fingerprint::of(&photo), 200_000);
    anna.put(&photo, 50_000, 150_000).await;
    // Correct where nothing had arrived, wrong where something had: only the new part is written.
    let late = [&photo[..50_000], &other[50_000..150_000]].concat();
    assert_eq!(
        anna.put_raw(fingerprint, size, 0, &late).await.status,
        StatusCode::OK
    );
    stored(anna.put(&photo, 150_000, 200_000).await);
    assert!(anna.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn a_shard_with_another_upload_length_is_rejected_and_the_upload_continues() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(9, 200_000);
    let fingerprint = Fingerprint::of(&photo);
    anna.put(&photo, 0, 100_000).await;
    for size in [199_999, 200_001] {
        let response = anna
            .put_raw(fingerprint, size, 100_000, &photo[100_000..150_000])
            .await;
        assert_eq!(response.code(), ErrorCode::LengthMismatch);
    }
    stored(anna.put(&photo, 100_000, 200_000).await);
    server.close().await;
}

#[tokio::test]
async fn the_received_part_of_a_broken_shard_is_in_the_interruption_list() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    // The second shard of one image, and the only shard of another.
    for (photo, start) in [(photo(10, 200_000), 100_000), (photo(11, 200_000), 0)] {
        if start > 0 {
            anna.put(&photo, 0, start).await;
        }
        disconnect_during(&anna, &photo, start, start + 50_000).await;
        let upload = route::upload(Fingerprint::of(&photo));
        let came = RangeSet::whole(start as u64 + 50_000);
        let listed = async {
            while anna.get(&upload).await.body != state_of(&came) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), listed)
            .await
            .expect("in time");
        stored(anna.put(&photo, start + 50_000, 200_000).await);
        assert!(anna.has(&photo).await);
    }
    server.close().await;
}

/// The entry of an image of 200,000 bytes in the interruption list, as text.
fn state_of(received: &RangeSet) -> Vec<u8> {
    let state = UploadState::Receiving {
        size: 200_000,
        received: received.clone(),
    };
    serde_json::to_vec(&state).unwrap()
}

/// Begins to send part of a photo, and disconnects in the middle of it.
async fn disconnect_during(client: &Client, photo: &[u8], start: usize, end: usize) {
    let token = client.token.clone().unwrap();
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nUpload-Length: {}\r\n\
         Content-Digest: {}\r\nContent-Length: {}\r\n\r\n",
        route::shard(Fingerprint::of(photo), start as u64),
        photo.len(),
        ContentDigest::of(&photo[start..]),
        photo.len() - start,
    );
    let mut stream = tokio::net::TcpStream::connect(client.address)
        .await
        .unwrap();
    let said = [head.as_bytes(), &photo[start..end]].concat();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &said)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_large_image_may_be_sent_in_one_request() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(11, (16 << 20) + 1);
    anna.store(&photo).await;
    assert!(anna.has(&photo).await);
    // As one shard of several it would have to fit in memory.
    let request = Request::put(route::shard(Fingerprint::of(&photo), 0))
        .header(route::UPLOAD_LENGTH, photo.len() + 1)
        .header(route::CONTENT_DIGEST, ContentDigest::of(&photo).to_string());
    let response = anna
        .send(request.body(Full::new(Bytes::from(photo))).unwrap())
        .await;
    assert_eq!(response.code(), ErrorCode::BodyTooLarge);
    server.close().await;
}
