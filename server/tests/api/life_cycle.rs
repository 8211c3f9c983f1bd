//! The life cycle of one photo, as a client sees it.

use bytes::Bytes;
use heirloom_protocol::message::{CheckedImage, ServerStatus, UploadState};
use heirloom_protocol::{ContentDigest, Fingerprint, RangeSet, route};
use http_body_util::Full;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::{TestServer, photo, stored, unsigned};

#[tokio::test]
async fn a_photo_goes_from_absent_to_owned() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(1, 300_000);
    let fingerprint = Fingerprint::of(&photo);

    let session = anna.session().await;
    assert_eq!(session.name, "anna");
    assert_eq!(session.installation.len(), 32);
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Absent { fingerprint }
    );

    let half = anna.put(&photo, 0, 150_000).await;
    let received: RangeSet = RangeSet::whole(150_000);
    assert_eq!(
        half,
        UploadState::Receiving {
            size: 300_000,
            received: received.clone()
        }
    );
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Interrupted {
            fingerprint,
            received
        }
    );
    assert_eq!(
        anna.get(&route::upload(fingerprint))
            .await
            .json::<UploadState>(),
        half
    );

    let receipt = stored(anna.put(&photo, 150_000, 300_000).await);
    assert_eq!((receipt.fingerprint, receipt.size), (fingerprint, 300_000));
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Owned {
            receipt: unsigned(receipt)
        }
    );
    assert_eq!(
        stored(anna.get(&route::upload(fingerprint)).await.json()),
        receipt
    );
    assert!(anna.has(&photo).await);

    let status: ServerStatus = anna.get(route::STATUS).await.json();
    assert_eq!(
        (
            status.images,
            status.image_bytes,
            status.interrupted_uploads
        ),
        (1, 300_000, 0)
    );
    server.close().await;
}

#[tokio::test]
async fn a_photo_in_one_shard_needs_no_ledger_entry() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(2, 100_000);
    let receipt = anna.store(&photo).await;
    assert!(anna.has(&photo).await);
    // Every response repeats the first receipt.
    assert_eq!(anna.store(&photo).await, receipt);
    assert_eq!(stored(anna.put(&photo, 10, 20).await), receipt);
    server.close().await;
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(3, 100_000);
    let path = route::upload(Fingerprint::of(&photo));
    anna.put(&photo, 0, 50_000).await;
    for _ in 0..2 {
        assert_eq!(
            anna.ask(Method::DELETE, &path).await.status,
            StatusCode::NO_CONTENT
        );
        assert_eq!(anna.get(&path).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        std::fs::read_dir(server.data.path().join("uploads"))
            .unwrap()
            .count(),
        0
    );
    // Cancelling an upload does not remove an image that is complete.
    anna.store(&photo).await;
    assert_eq!(
        anna.ask(Method::DELETE, &path).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(anna.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn the_metrics_are_correct() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    anna.store(&photo(4, 70_000)).await;
    let text = anna.get(route::METRICS).await;
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    for line in [
        "heirloom_images_stored_total 1",
        "heirloom_shard_bytes_received_total 70000",
        "heirloom_requests_served_total 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert_eq!(server.anonymous().get(route::HEALTH).await.body, "ok");
    server.close().await;
}

#[tokio::test]
async fn a_photo_goes_from_absent_to_owned_over_http2() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(5, 2_000_000);
    let stream = tokio::net::TcpStream::connect(anna.address).await.unwrap();
    let (mut sender, driving) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let driving = tokio::spawn(driving);
    let shards =
        [(0, 700_000), (700_000, 1_400_000), (1_400_000, 2_000_000)].map(|(start, end)| {
            let bytes = Bytes::copy_from_slice(&photo[start..end]);
            let request = Request::put(format!(
                "http://{}{}",
                anna.address,
                route::shard(Fingerprint::of(&photo), start as u64)
            ))
            .header(
                AUTHORIZATION,
                format!("Bearer {}", anna.token.as_ref().unwrap()),
            )
            .header(route::UPLOAD_LENGTH, photo.len())
            .header(route::CONTENT_DIGEST, ContentDigest::of(&bytes).to_string());
            sender.send_request(request.body(Full::new(bytes)).unwrap())
        });
    for response in futures_util::future::join_all(shards).await {
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    assert!(anna.has(&photo).await);
    drop(sender);
    driving.await.unwrap().unwrap();
    server.close().await;
}
