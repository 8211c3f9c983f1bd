//! Quotas: what does not fit is rejected before it is stored, and accepted once there is space.

use heirloom_protocol::message::{CheckImage, CheckedImage, ServerStatus};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;

use crate::support::{TestServer, kept, photo, prove};

#[tokio::test]
async fn a_photo_over_the_quota_is_rejected_unstored_and_accepted_once_it_fits() {
    let server = TestServer::start().await;
    let (accounts, index) = server.accounts().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    accounts.set_quota("anna", Some(250_000)).await.unwrap();
    let (fits, large, half) = (photo(1, 100_000), photo(2, 200_000), photo(3, 100_000));
    anna.store(&fits).await;
    anna.put(&half, 0, 10).await;
    let before = kept(&server);
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
    assert_eq!(kept(&server), before, "nothing of it is stored");
    anna.store(&fits).await;
    anna.store(&half).await;
    let status: ServerStatus = anna.get(route::STATUS).await.json();
    assert_eq!(
        (status.held_bytes, status.quota_bytes),
        (200_000, Some(250_000))
    );

    // A linked image counts like any other. If it does not fit, the response is that of an unknown
    // image.
    ben.store(&large).await;
    let session = anna.session().await;
    let proof = Some(prove(&session, session.user, &large));
    let image = CheckImage {
        fingerprint: Fingerprint::of(&large),
        size: 200_000,
        proof,
    };
    let response = anna
        .check_raw(std::slice::from_ref(&image))
        .await
        .json::<Vec<CheckedImage>>();
    assert_eq!(
        response,
        [CheckedImage::Absent {
            fingerprint: image.fingerprint
        }]
    );

    accounts.set_quota("anna", None).await.unwrap();
    let response = anna.check_raw(&[image]).await.json::<Vec<CheckedImage>>();
    assert!(
        matches!(response[..], [CheckedImage::Linked { .. }]),
        "{response:?}"
    );
    index.close().await;
    server.close().await;
}
