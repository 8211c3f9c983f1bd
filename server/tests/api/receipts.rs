//! Receipts: signed when a user comes to hold an image, and whenever the server has verified it
//! again.

use heirloom_protocol::message::{CheckImage, CheckedImage, FreshReceipt, Receipt};
use heirloom_protocol::{ErrorCode, Fingerprint, route};

use crate::support::{Client, TestServer, photo, prove, unsigned};

/// Whether the receipt has the server's valid signature for this user.
async fn is_signed(client: &Client, receipt: Receipt) -> bool {
    let session = client.session().await;
    let key = session.receipt_key.unwrap();
    receipt
        .signature
        .is_some_and(|signature| key.verify(&receipt.payload(session.user), &signature))
}

#[tokio::test]
async fn a_receipt_is_signed_for_its_user_with_the_same_key_after_a_restart() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(1, 100_000);
    let receipt = anna.store(&photo).await;
    assert!(is_signed(&anna, receipt).await);
    assert!(
        !is_signed(&ben, receipt).await,
        "the receipt is not valid for another user"
    );
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Owned {
            receipt: unsigned(receipt)
        }
    );

    let session = ben.session().await;
    let proof = Some(prove(&session, session.user, &photo));
    let image = CheckImage {
        fingerprint: Fingerprint::of(&photo),
        size: 100_000,
        proof,
    };
    let linked = ben
        .check_raw(&[image])
        .await
        .json::<Vec<CheckedImage>>()
        .remove(0);
    let CheckedImage::Linked { receipt: linked } = linked else {
        panic!("{linked:?}")
    };
    assert!(is_signed(&ben, linked).await);

    let server = TestServer::restart(server.close().await).await;
    let anna = Client {
        address: server.inner.address(),
        ..anna
    };
    assert!(is_signed(&anna, receipt).await);
    server.close().await;
}

#[tokio::test]
async fn a_fresh_receipt_is_for_bytes_that_were_just_verified() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(1, 100_000);
    let stored = anna.store(&photo).await;
    let image = Fingerprint::of(&photo);
    let fresh: FreshReceipt = anna.get(&route::fresh_receipt(image)).await.json();
    assert_eq!(fresh.receipt, stored);
    assert!(is_signed(&anna, fresh.receipt).await);
    assert_eq!(
        ben.get(&route::fresh_receipt(image)).await.code(),
        ErrorCode::NotFound
    );

    let name = image.to_string();
    let path = server
        .data
        .path()
        .join("images")
        .join(&name[..2])
        .join(&name);
    let mut rotten = photo.clone();
    rotten[99_999] ^= 1;
    std::fs::write(&path, rotten).unwrap();
    assert_eq!(
        anna.get(&route::fresh_receipt(image)).await.code(),
        ErrorCode::NotFound,
        "no receipt is signed for damaged bytes"
    );
    assert!(!anna.has(&photo).await, "damaged bytes are not sent");
    assert_eq!(
        anna.store(&photo).await,
        stored,
        "the time of storing has not changed"
    );
    assert_eq!(
        anna.get(&route::fresh_receipt(image))
            .await
            .json::<FreshReceipt>()
            .receipt,
        stored
    );
    server.close().await;
}
