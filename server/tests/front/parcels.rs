//! Several small photos in one request.

use bytes::Bytes;
use heirloom_protocol::batch::{BatchEntry, BatchHeader, BatchOutcome, IMAGES_MAX, MEDIA_TYPE};
use heirloom_protocol::message::{CheckedImage, Scope, ServerStatus};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;

use crate::support::{Answer, Guest, House, kept, photo, unsigned};

fn parcel(photos: &[Vec<u8>]) -> Vec<u8> {
    let packed = |photo: &Vec<u8>| BatchEntry {
        fingerprint: Fingerprint::of(photo),
        size: photo.len() as u64,
    };
    let list = BatchHeader {
        images: photos.iter().map(packed).collect(),
    };
    [list.encode(), photos.concat()].concat()
}

async fn send_as(guest: &Guest, media_type: &str, body: Vec<u8>) -> Answer {
    let request = Request::post(route::BATCHES).header(CONTENT_TYPE, media_type);
    guest
        .send(request.body(Full::new(Bytes::from(body))).unwrap())
        .await
}

async fn send(guest: &Guest, body: Vec<u8>) -> Answer {
    send_as(guest, MEDIA_TYPE, body).await
}

fn photos(count: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|seed| photo(seed, 1 + 1000 * usize::try_from(seed).unwrap()))
        .collect()
}

#[tokio::test]
async fn every_photo_of_a_parcel_gets_the_receipt_it_would_get_by_itself() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let photos = photos(40);
    let before = anna.store(&photos[3]).await;
    let unpacked: Vec<BatchOutcome> = send(&anna, parcel(&photos)).await.json();
    assert_eq!(
        unpacked[3],
        BatchOutcome::Stored { receipt: before },
        "the first receipt is the receipt of every time"
    );
    for (photo, unpacked) in photos.iter().zip(&unpacked) {
        let BatchOutcome::Stored { receipt } = *unpacked else {
            panic!("{unpacked:?}")
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
        send(&anna, parcel(&photos))
            .await
            .json::<Vec<BatchOutcome>>(),
        unpacked,
        "it may be sent twice"
    );
    house.close().await;
}

#[tokio::test]
async fn a_damaged_photo_is_left_out_and_the_others_are_stored() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let photos = photos(5);
    let mut body = parcel(&photos);
    *body.last_mut().unwrap() ^= 1;
    let unpacked: Vec<BatchOutcome> = send(&anna, body).await.json();
    let damaged = BatchOutcome::Damaged {
        fingerprint: Fingerprint::of(&photos[4]),
    };
    assert_eq!(unpacked[4], damaged);
    assert!(
        unpacked[..4]
            .iter()
            .all(|it| matches!(it, BatchOutcome::Stored { .. })),
        "{unpacked:?}"
    );
    assert_eq!(
        anna.check(&photos[4]).await,
        CheckedImage::Absent {
            fingerprint: Fingerprint::of(&photos[4])
        }
    );
    assert_eq!(kept(&house).len(), 4);
    house.close().await;
}

#[tokio::test]
async fn what_came_of_a_photo_before_is_forgotten() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let photos = photos(5);
    anna.put(&photos[4], 0, 2000).await;
    send(&anna, parcel(&photos))
        .await
        .json::<Vec<BatchOutcome>>();
    let status: ServerStatus = anna.get(route::STATUS).await.json();
    assert_eq!((status.images, status.interrupted_uploads), (5, 0));
    assert_eq!(
        std::fs::read_dir(house.data.path().join("uploads"))
            .unwrap()
            .count(),
        0
    );
    house.close().await;
}

#[tokio::test]
async fn a_parcel_is_its_senders_alone() {
    let house = House::open().await;
    let (anna, berta) = (house.guest("anna").await, house.guest("berta").await);
    let photos = photos(5);
    send(&anna, parcel(&photos))
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
    let reader = house.device("anna", Scope::ReadOnly).await;
    assert_eq!(
        send(&reader, parcel(&photos)).await.code(),
        ErrorCode::ScopeTooNarrow
    );
    assert_eq!(
        send(&house.stranger(), parcel(&photos)).await.code(),
        ErrorCode::LoginNeeded
    );
    house.close().await;
}

#[tokio::test]
async fn what_is_no_parcel_is_refused_and_leaves_nothing() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let whole = parcel(&photos(3));
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
            parcel(&[photo(1, 10), photo(1, 10)]),
            ErrorCode::MalformedBody,
        ),
        (parcel(&[Vec::new()]), ErrorCode::MalformedBody),
        (parcel(&many), ErrorCode::BatchTooLarge),
        (too_long, ErrorCode::BodyTooLarge),
    ] {
        let length = body.len();
        assert_eq!(send(&anna, body).await.code(), code, "{length} bytes");
    }
    let json = send_as(&anna, "application/json", whole).await;
    assert_eq!(json.code(), ErrorCode::UnsupportedMediaType);
    assert!(kept(&house).is_empty());
    house.close().await;
}
