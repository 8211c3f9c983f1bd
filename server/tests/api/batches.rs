//! Image batches: several small photos in one request.

use bytes::Bytes;
use heirloom_protocol::batch::{BatchEntry, BatchHeader, BatchOutcome, IMAGES_MAX, MEDIA_TYPE};
use heirloom_protocol::message::{CheckedImage, Scope, ServerStatus};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;

use crate::support::{Client, Response, TestServer, kept, photo, unsigned};

fn batch(photos: &[Vec<u8>]) -> Vec<u8> {
    let packed = |photo: &Vec<u8>| BatchEntry {
        fingerprint: Fingerprint::of(photo),
        size: photo.len() as u64,
    };
    let list = BatchHeader {
        images: photos.iter().map(packed).collect(),
    };
    [list.encode(), photos.concat()].concat()
}

async fn send_as(client: &Client, media_type: &str, body: Vec<u8>) -> Response {
    let request = Request::post(route::BATCHES).header(CONTENT_TYPE, media_type);
    client
        .send(request.body(Full::new(Bytes::from(body))).unwrap())
        .await
}

async fn send(client: &Client, body: Vec<u8>) -> Response {
    send_as(client, MEDIA_TYPE, body).await
}

fn photos(count: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|seed| photo(seed, 1 + 1000 * usize::try_from(seed).unwrap()))
        .collect()
}

#[tokio::test]
async fn every_photo_of_a_batch_gets_the_same_receipt_as_alone() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photos = photos(40);
    let before = anna.store(&photos[3]).await;
    let outcomes: Vec<BatchOutcome> = send(&anna, batch(&photos)).await.json();
    assert_eq!(
        outcomes[3],
        BatchOutcome::Stored { receipt: before },
        "every response repeats the first receipt"
    );
    for (photo, outcomes) in photos.iter().zip(&outcomes) {
        let BatchOutcome::Stored { receipt } = *outcomes else {
            panic!("{outcomes:?}")
        };
        assert_eq!(
            (receipt.fingerprint, receipt.size),
            (Fingerprint::of(photo), photo.len() as u64)
        );
        assert_eq!(
            anna.check(photo).await,
            CheckedImage::Owned {
                receipt: unsigned(receipt)
            }
        );
        assert!(anna.has(photo).await);
    }
    assert_eq!(
        send(&anna, batch(&photos))
            .await
            .json::<Vec<BatchOutcome>>(),
        outcomes,
        "a batch may be sent twice"
    );
    server.close().await;
}

#[tokio::test]
async fn a_damaged_photo_is_left_out_and_the_others_are_stored() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photos = photos(5);
    let mut body = batch(&photos);
    *body.last_mut().unwrap() ^= 1;
    let outcomes: Vec<BatchOutcome> = send(&anna, body).await.json();
    let damaged = BatchOutcome::Damaged {
        fingerprint: Fingerprint::of(&photos[4]),
    };
    assert_eq!(outcomes[4], damaged);
    assert!(
        outcomes[..4]
            .iter()
            .all(|it| matches!(it, BatchOutcome::Stored { .. })),
        "{outcomes:?}"
    );
    assert_eq!(
        anna.check(&photos[4]).await,
        CheckedImage::Absent {
            fingerprint: Fingerprint::of(&photos[4])
        }
    );
    assert_eq!(kept(&server).len(), 4);
    server.close().await;
}

#[tokio::test]
async fn a_batch_replaces_an_interrupted_upload_of_the_same_photo() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photos = photos(5);
    anna.put(&photos[4], 0, 2000).await;
    send(&anna, batch(&photos))
        .await
        .json::<Vec<BatchOutcome>>();
    let status: ServerStatus = anna.get(route::STATUS).await.json();
    assert_eq!((status.images, status.interrupted_uploads), (5, 0));
    assert_eq!(
        std::fs::read_dir(server.data.path().join("uploads"))
            .unwrap()
            .count(),
        0
    );
    server.close().await;
}

#[tokio::test]
async fn a_batch_belongs_to_its_sender_alone() {
    let server = TestServer::start().await;
    let (anna, berta) = (server.client("anna").await, server.client("berta").await);
    let photos = photos(5);
    send(&anna, batch(&photos))
        .await
        .json::<Vec<BatchOutcome>>();
    for photo in &photos {
        assert_eq!(
            berta.check(photo).await,
            CheckedImage::Absent {
                fingerprint: Fingerprint::of(photo)
            }
        );
    }
    let reader = server.device("anna", Scope::ReadOnly).await;
    assert_eq!(
        send(&reader, batch(&photos)).await.code(),
        ErrorCode::ScopeTooNarrow
    );
    assert_eq!(
        send(&server.anonymous(), batch(&photos)).await.code(),
        ErrorCode::LoginNeeded
    );
    server.close().await;
}

#[tokio::test]
async fn an_invalid_batch_is_rejected_and_stores_nothing() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let whole = batch(&photos(3));
    let many: Vec<Vec<u8>> = (0..=IMAGES_MAX as u64)
        .map(|seed| photo(seed, 10))
        .collect();
    let too_long = vec![b'x'; (4 << 20) + (16 << 10) + 1];
    for (body, code) in [
        (Vec::new(), ErrorCode::LengthRequired),
        (b"{}\n".to_vec(), ErrorCode::MalformedBody),
        (vec![b'x'; 100_000], ErrorCode::MalformedBody),
        (whole[..whole.len() - 1].to_vec(), ErrorCode::MalformedBody),
        ([whole.clone(), vec![0]].concat(), ErrorCode::MalformedBody),
        (
            batch(&[photo(1, 10), photo(1, 10)]),
            ErrorCode::MalformedBody,
        ),
        (batch(&[Vec::new()]), ErrorCode::MalformedBody),
        (batch(&many), ErrorCode::BatchTooLarge),
        (too_long, ErrorCode::BodyTooLarge),
    ] {
        let length = body.len();
        assert_eq!(send(&anna, body).await.code(), code, "{length} bytes");
    }
    let json = send_as(&anna, "application/json", whole).await;
    assert_eq!(json.code(), ErrorCode::UnsupportedMediaType);
    assert!(kept(&server).is_empty());
    server.close().await;
}
