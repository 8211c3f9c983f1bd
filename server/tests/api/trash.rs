//! The trash over HTTP: every device can read it, and none can empty it.

use std::time::Duration;

use heirloom_protocol::message::{
    LibraryBatch, LibraryChange, LibraryOutcome, LibraryOutcomes, Scope, TrashPage,
};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath, route};
use heirloom_server::clock::Clock;
use heirloom_server::config::TRASH_EXPIRY;
use hyper::Method;
use tokio::time::timeout;

use crate::support::{Client, LIMIT, TestServer, kept, photo};

async fn change(client: &Client, change: LibraryChange) -> LibraryOutcome {
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

fn put(photo: &[u8], base: u64) -> LibraryChange {
    let (path, fingerprint) = (LibraryPath::new("a.jpg").unwrap(), Fingerprint::of(photo));
    LibraryChange::Put {
        path,
        fingerprint,
        mtime_ns: 7,
        base,
    }
}

/// Polls until the condition is true: the server collects garbage in the background.
async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, looking)
        .await
        .unwrap_or_else(|_| panic!("timed out: {what}"));
}

#[tokio::test]
async fn a_server_removes_images_that_were_unreferenced_for_a_day() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let (mine, ours) = (photo(1, 1000), photo(2, 1000));
    for photo in [&mine, &ours] {
        anna.store(photo).await;
        let LibraryOutcome::Applied { version } = change(&anna, put(photo, 0)).await else {
            panic!("it is hers")
        };
        change(
            &anna,
            LibraryChange::Remove {
                path: LibraryPath::new("a.jpg").unwrap(),
                base: version,
            },
        )
        .await;
    }
    ben.store(&ours).await;
    let mut data = server.close().await;
    // In the trash; unreferenced just now; unreferenced a day ago.
    let (none, day) = (Duration::ZERO, Duration::from_hours(24));
    for (trash_expiry, later, left) in [(TRASH_EXPIRY, none, 2), (none, none, 2), (none, day, 1)] {
        let clock = Clock::default();
        clock.advance(later);
        let server =
            TestServer::start_with(data, clock, |config| config.trash_expiry = trash_expiry).await;
        let ben = server.client("ben").await;
        let cleared = async || {
            let text = String::from_utf8(ben.get("/metrics").await.body.to_vec()).unwrap();
            text.contains("heirloom_images_cleared_total 1\n")
        };
        if left == 1 {
            eventually("the image is removed", cleared).await;
        }
        assert_eq!(kept(&server).len(), left, "after {later:?}");
        assert!(ben.has(&ours).await);
        data = server.close().await;
    }
}

#[tokio::test]
async fn every_device_sees_the_trash_and_none_can_empty_it() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let camera = server.device("anna", Scope::AppendOnly).await;
    let (first, second) = (photo(1, 1000), photo(2, 1000));
    for photo in [&first, &second] {
        anna.store(photo).await;
    }
    change(&anna, put(&first, 0)).await;
    change(&anna, put(&second, 1)).await;
    for client in [&anna, &camera] {
        let page: TrashPage = client.get(&route::library_trash(0)).await.json();
        let lost = &page.entries[0];
        assert_eq!(
            (lost.version, lost.current_version, lost.photo.fingerprint),
            (1, 2, Fingerprint::of(&first))
        );
        assert_eq!(
            (page.entries.len(), page.next, page.more, page.kept_for_s),
            (1, 1, false, 30 * 86_400)
        );
    }
    assert!(
        ben.get(&route::library_trash(0))
            .await
            .json::<TrashPage>()
            .entries
            .is_empty()
    );
    assert_eq!(
        anna.get("/v1/library/trash?all=1").await.code(),
        ErrorCode::MalformedRequest
    );
    for method in [Method::DELETE, Method::POST, Method::PUT] {
        assert_eq!(
            anna.ask(method, route::LIBRARY_TRASH).await.code(),
            ErrorCode::MethodNotAllowed
        );
    }
    // Restoring over another photo needs a full token.
    let narrow = LibraryOutcome::Refused {
        code: ErrorCode::ScopeTooNarrow,
    };
    assert_eq!(change(&camera, put(&first, 2)).await, narrow);
    assert_eq!(
        change(&anna, put(&first, 2)).await,
        LibraryOutcome::Applied { version: 3 }
    );
    assert!(anna.has(&first).await);
    server.close().await;
}
