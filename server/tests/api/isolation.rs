//! Isolation of users: whatever another user requests about an image of mine, the response is the
//! same as for an image that nobody ever sent.

use bytes::Bytes;
use heirloom_protocol::message::{
    CheckImage, CheckedImage, LibraryBatch, LibraryChange, LibraryFeed, ServerStatus, UploadState,
};
use heirloom_protocol::{Fingerprint, LibraryPath, RangeSet, route};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, DATE, RANGE};
use hyper::{Method, Request};

use crate::support::{Client, Response, TestServer, photo};

/// A request about an image.
type Question = fn(Fingerprint) -> Request<Full<Bytes>>;

/// Every route that names an image.
const QUESTIONS: [(&str, Question); 9] = [
    ("read an upload", |image| {
        bare(Method::GET, &route::upload(image))
    }),
    ("cancel an upload", |image| {
        bare(Method::DELETE, &route::upload(image))
    }),
    ("read an image", |image| {
        bare(Method::GET, &route::image(image))
    }),
    ("read an image", |image| {
        bare(Method::HEAD, &route::image(image))
    }),
    ("read a part", |image| {
        let mut request = bare(Method::GET, &route::image(image));
        request
            .headers_mut()
            .insert(RANGE, "bytes=0-9".parse().unwrap());
        request
    }),
    ("revalidate a cached image", |image| {
        let mut request = bare(Method::GET, &route::image(image));
        request
            .headers_mut()
            .insert("if-none-match", format!("\"{image}\"").parse().unwrap());
        request
    }),
    ("request a fresh receipt", |image| {
        bare(Method::GET, &route::fresh_receipt(image))
    }),
    ("check", |image| {
        let size = 100_000;
        post_json(
            route::CHECK,
            &vec![CheckImage {
                fingerprint: image,
                size,
                proof: None,
            }],
        )
    }),
    ("give it a name", |image| {
        let path = LibraryPath::new("mine.jpg").unwrap();
        let put = LibraryChange::Put {
            path,
            fingerprint: image,
            mtime_ns: 0,
            base: 0,
        };
        post_json(route::LIBRARY_CHANGES, &LibraryBatch { changes: vec![put] })
    }),
];

fn bare(method: Method, path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Full::default())
        .unwrap()
}

fn post_json(path: &str, message: &impl serde::Serialize) -> Request<Full<Bytes>> {
    let body = serde_json::to_vec(message).unwrap();
    Request::post(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body))
        .unwrap()
}

/// The response about an image, without the image's fingerprint.
async fn response_about(client: &Client, question: Question, image: Fingerprint) -> String {
    let Response {
        status,
        mut headers,
        body,
    } = client.send(question(image)).await;
    headers.remove(DATE);
    format!("{status} {headers:?} {}", String::from_utf8_lossy(&body))
        .replace(&image.to_string(), "IMAGE")
}

#[tokio::test]
async fn no_route_reveals_the_images_of_another_user() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let (kept, half) = (photo(1, 100_000), photo(2, 100_000));
    anna.store(&kept).await;
    let begun = anna.put(&half, 0, 50_000).await;
    let unknown = Fingerprint::of(&photo(3, 100_000));
    for (what, question) in QUESTIONS {
        let expected = response_about(&ben, question, unknown).await;
        for hers in [&kept, &half] {
            assert_eq!(
                response_about(&ben, question, Fingerprint::of(hers)).await,
                expected,
                "{what}"
            );
        }
    }
    assert!(anna.has(&kept).await);
    assert_eq!(
        anna.get(&route::upload(Fingerprint::of(&half)))
            .await
            .json::<UploadState>(),
        begun
    );
    server.close().await;
}

#[tokio::test]
async fn another_user_starts_an_upload_from_zero_and_counts_only_their_own() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let (kept, half) = (photo(1, 100_000), photo(2, 100_000));
    anna.store(&kept).await;
    anna.put(&half, 0, 50_000).await;
    for hers in [&kept, &half] {
        let state = ben.put(hers, 0, 10).await;
        assert_eq!(
            state,
            UploadState::Receiving {
                size: 100_000,
                received: RangeSet::whole(10)
            }
        );
    }
    let status: ServerStatus = ben.get(route::STATUS).await.json();
    assert_eq!(
        (
            status.images,
            status.image_bytes,
            status.interrupted_uploads
        ),
        (0, 0, 2)
    );
    assert!(matches!(
        anna.check(&kept).await,
        CheckedImage::Owned { .. }
    ));
    server.close().await;
}

#[tokio::test]
async fn libraries_with_the_same_paths_are_separate() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let kept = photo(1, 100_000);
    anna.store(&kept).await;
    let path = || LibraryPath::new("a.jpg").unwrap();
    let put = LibraryChange::Put {
        path: path(),
        fingerprint: Fingerprint::of(&kept),
        mtime_ns: 0,
        base: 0,
    };
    anna.post(route::LIBRARY_CHANGES, &LibraryBatch { changes: vec![put] })
        .await
        .json::<serde_json::Value>();
    let before: LibraryFeed = anna.get(&route::library_feed(0, 0)).await.json();
    let changes = vec![
        LibraryChange::Remove {
            path: path(),
            base: 1,
        },
        LibraryChange::Move {
            from: path(),
            to: LibraryPath::new("b.jpg").unwrap(),
            base: 1,
        },
    ];
    ben.post(route::LIBRARY_CHANGES, &LibraryBatch { changes })
        .await
        .json::<serde_json::Value>();
    let bens: LibraryFeed = ben.get(&route::library_feed(0, 0)).await.json();
    assert!(bens.entries.is_empty(), "{bens:?}");
    assert_eq!(
        anna.get(&route::library_feed(0, 0))
            .await
            .json::<LibraryFeed>(),
        before
    );
    server.close().await;
}
