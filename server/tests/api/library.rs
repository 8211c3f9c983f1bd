//! The library over HTTP: changes and the change feed. The index contract covers their meaning.

use std::time::{Duration, Instant};

use heirloom_protocol::message::{
    LibraryBatch, LibraryChange, LibraryFeed, LibraryOutcome, LibraryOutcomes,
};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath, route};

use crate::support::{Client, LIMIT, TestServer, photo};

async fn put(client: &Client, path: &str, photo: &[u8]) -> LibraryOutcome {
    let change = LibraryChange::Put {
        path: LibraryPath::new(path).unwrap(),
        fingerprint: Fingerprint::of(photo),
        mtime_ns: 5,
        base: 0,
    };
    let response = client
        .post(
            route::LIBRARY_CHANGES,
            &LibraryBatch {
                changes: vec![change],
            },
        )
        .await;
    response.json::<LibraryOutcomes>().outcomes.remove(0)
}

async fn feed(client: &Client, since: u64, wait_s: u64) -> LibraryFeed {
    client.get(&route::library_feed(since, wait_s)).await.json()
}

#[tokio::test]
async fn a_device_sees_the_changes_of_another_device() {
    let server = TestServer::start().await;
    let (phone, laptop, ben) = (
        server.client("anna").await,
        server.client("anna").await,
        server.client("ben").await,
    );
    let photo = photo(1, 1000);
    let refused = LibraryOutcome::Refused {
        code: ErrorCode::ImageNotHeld,
    };
    assert_eq!(put(&phone, "2026/a.jpg", &photo).await, refused);
    phone.store(&photo).await;
    assert_eq!(
        put(&phone, "2026/a.jpg", &photo).await,
        LibraryOutcome::Applied { version: 1 }
    );
    let seen = feed(&laptop, 0, 0).await;
    assert_eq!(seen.entries.len(), 1);
    assert_eq!(
        seen.entries[0].photo.unwrap().fingerprint,
        Fingerprint::of(&photo)
    );
    assert_eq!((seen.next, seen.more), (1, false));
    assert_eq!(feed(&ben, 0, 0).await.entries, []);
    assert_eq!(feed(&laptop, u64::MAX, 0).await.entries, []);
    server.close().await;
}

#[tokio::test]
async fn a_long_poll_is_woken_by_the_users_own_changes_only() {
    let server = TestServer::start().await;
    let (phone, laptop, ben) = (
        server.client("anna").await,
        server.client("anna").await,
        server.client("ben").await,
    );
    let photo = photo(1, 1000);
    phone.store(&photo).await;
    ben.store(&photo).await;
    let waiting = tokio::spawn(async move { feed(&laptop, 0, 55).await });
    put(&ben, "b.jpg", &photo).await;
    put(&phone, "a.jpg", &photo).await;
    let heard = tokio::time::timeout(LIMIT / 2, waiting)
        .await
        .expect("woken long before its timeout")
        .unwrap();
    assert_eq!(
        heard
            .entries
            .iter()
            .map(|entry| entry.path.as_str())
            .collect::<Vec<_>>(),
        ["a.jpg"]
    );
    server.close().await;
}

#[tokio::test]
async fn a_long_poll_ends_at_its_timeout_or_when_the_server_stops() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let began = Instant::now();
    assert_eq!(
        feed(&anna, 0, 1).await,
        LibraryFeed {
            entries: vec![],
            next: 0,
            more: false,
            wanted: 0
        }
    );
    assert!(began.elapsed() >= Duration::from_secs(1));

    let mut connection = anna.connect().await;
    let request = anna.prepared(
        hyper::Request::get(route::library_feed(0, 55))
            .body(http_body_util::Full::default())
            .unwrap(),
    );
    let waiting = tokio::spawn(async move { connection.ask(request).await });
    // The server must not wait for a long poll when it stops.
    anna.session().await;
    let closing = tokio::time::timeout(Duration::from_secs(15), server.close());
    let (closed, response) = tokio::join!(closing, waiting);
    closed.expect("a stop does not wait for long polls");
    assert_eq!(response.unwrap().json::<LibraryFeed>().entries, []);
}
