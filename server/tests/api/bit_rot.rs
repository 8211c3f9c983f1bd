//! Damaged images: which users the server requests them from.

use std::time::Duration;

use heirloom_protocol::message::{CheckedImage, LibraryFeed, ServerStatus, WantedPage};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use heirloom_server::clock::Clock;
use heirloom_server::config::ScrubSchedule;
use tokio::time::timeout;

use crate::support::{Client, LIMIT, TestServer, photo};

async fn wanted(client: &Client) -> Vec<Fingerprint> {
    client
        .get(route::WANTED)
        .await
        .json::<WantedPage>()
        .fingerprints
}

#[tokio::test]
async fn a_damaged_image_is_wanted_from_its_holders_and_nobody_else() {
    let server = TestServer::start().await;
    let (anna, ben, dora) = (
        server.client("anna").await,
        server.client("ben").await,
        server.client("dora").await,
    );
    let (rotten, sound) = (photo(1, 100_000), photo(2, 100_000));
    for client in [&anna, &ben] {
        client.store(&rotten).await;
    }
    for client in [&anna, &dora] {
        client.store(&sound).await;
    }
    let image = Fingerprint::of(&rotten);
    let name = image.to_string();
    std::fs::write(
        server
            .data
            .path()
            .join("images")
            .join(&name[..2])
            .join(&name),
        b"moss",
    )
    .unwrap();

    // After the restart the server scrubs at once, because its last round ended long ago.
    let data = server.close().await;
    let (plan, clock) = (
        ScrubSchedule {
            interval: Duration::ZERO,
            ..ScrubSchedule::default()
        },
        Clock::default(),
    );
    let server = TestServer::start_with(data, clock, |config| config.scrub = plan).await;
    let at = |client: &Client| Client {
        address: server.inner.address(),
        ..client.clone()
    };
    let (anna, ben, dora) = (at(&anna), at(&ben), at(&dora));
    let heard = async {
        loop {
            let feed: LibraryFeed = anna.get(&route::library_feed(0, 5)).await.json();
            if feed.wanted > 0 {
                break feed.wanted;
            }
        }
    };
    assert_eq!(timeout(LIMIT, heard).await.unwrap(), 1);
    assert_eq!(
        (wanted(&anna).await, wanted(&ben).await),
        (vec![image], vec![image])
    );
    assert_eq!(
        anna.get(&route::wanted(Some(image)))
            .await
            .json::<WantedPage>()
            .fingerprints,
        []
    );
    assert_eq!(
        anna.get("/v1/images/wanted?after=xyz").await.code(),
        ErrorCode::MalformedRequest
    );
    assert!(wanted(&dora).await.is_empty());
    assert_eq!(
        dora.get(&route::library_feed(0, 0))
            .await
            .json::<LibraryFeed>()
            .wanted,
        0
    );
    assert_eq!(
        anna.get(&route::image(image)).await.code(),
        ErrorCode::NotFound
    );
    assert!(matches!(
        anna.check(&rotten).await,
        CheckedImage::Absent { .. }
    ));
    assert!(anna.has(&sound).await);

    // One of them sends it again, which repairs it for both.
    ben.store(&rotten).await;
    assert!(anna.has(&rotten).await);
    assert!(wanted(&anna).await.is_empty());
    let status: ServerStatus = anna.get(route::STATUS).await.json();
    assert_eq!((status.images, status.damaged_images), (2, 0));
    server.close().await;
}
