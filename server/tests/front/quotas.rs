//! Quotas from outside: what does not fit is refused before it is stored, and can be sent once
//! there is room.

use heirloom_protocol::message::{CheckImage, CheckedImage, ServerStatus};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;

use crate::support::{House, kept, photo, prove};

#[tokio::test]
async fn what_does_not_fit_is_refused_unstored_and_welcome_when_there_is_room() {
    let house = House::open().await;
    let (accounts, index) = house.accounts().await;
    let (anna, ben) = (house.guest("anna").await, house.guest("ben").await);
    accounts.set_quota("anna", Some(250_000)).await.unwrap();
    let (fits, large, half) = (photo(1, 100_000), photo(2, 200_000), photo(3, 100_000));
    anna.store(&fits).await;
    anna.put(&half, 0, 10).await;
    let before = kept(&house);
    for (start, end) in [(0, 200_000), (0, 100_000)] {
        let refused = anna
            .put_raw(Fingerprint::of(&large), 200_000, start, &large[start..end])
            .await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::INSUFFICIENT_STORAGE, ErrorCode::QuotaExceeded)
        );
        assert!(refused.headers.contains_key(RETRY_AFTER));
        assert!(
            String::from_utf8_lossy(&refused.body).contains("250000"),
            "{refused:?}"
        );
    }
    assert_eq!(kept(&house), before, "nothing of it is stored");
    anna.store(&fits).await;
    anna.store(&half).await;
    let status: ServerStatus = anna.get(route::STATUS).await.json();
    assert_eq!(
        (status.held_bytes, status.quota_bytes),
        (200_000, Some(250_000))
    );

    // A link takes room like everything else; for want of it the answer is that of an unknown
    // image.
    ben.store(&large).await;
    let session = anna.session().await;
    let proof = Some(prove(&session, session.user, &large));
    let image = CheckImage {
        fingerprint: Fingerprint::of(&large),
        size: 200_000,
        proof,
    };
    let answer = anna
        .check_raw(std::slice::from_ref(&image))
        .await
        .json::<Vec<CheckedImage>>();
    assert_eq!(
        answer,
        [CheckedImage::Absent {
            fingerprint: image.fingerprint
        }]
    );

    accounts.set_quota("anna", None).await.unwrap();
    let answer = anna.check_raw(&[image]).await.json::<Vec<CheckedImage>>();
    assert!(
        matches!(answer[..], [CheckedImage::Linked { .. }]),
        "{answer:?}"
    );
    index.close().await;
    house.close().await;
}
