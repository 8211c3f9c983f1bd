//! Damaged images from outside: who is asked for them, and who is not.

use std::time::Duration;

use heirloom_protocol::message::{CheckedImage, LibraryFeed, ServerStatus, WantedPage};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use heirloom_server::clock::Clock;
use heirloom_server::config::ScrubPlan;
use tokio::time::timeout;

use crate::support::{Guest, House, LIMIT, photo};

async fn wanted(guest: &Guest) -> Vec<Fingerprint> {
    guest
        .get(route::WANTED)
        .await
        .json::<WantedPage>()
        .fingerprints
}

#[tokio::test]
async fn whoever_holds_a_damaged_image_is_asked_for_it_and_nobody_else() {
    let house = House::open().await;
    let (anna, ben, dora) = (
        house.guest("anna").await,
        house.guest("ben").await,
        house.guest("dora").await,
    );
    let (rotten, sound) = (photo(1, 100_000), photo(2, 100_000));
    for guest in [&anna, &ben] {
        guest.store(&rotten).await;
    }
    for guest in [&anna, &dora] {
        guest.store(&sound).await;
    }
    let image = Fingerprint::of(&rotten);
    let name = image.to_string();
    std::fs::write(
        house
            .data
            .path()
            .join("images")
            .join(&name[..2])
            .join(&name),
        b"moss",
    )
    .unwrap();

    // Opened again, the server scrubs at once, because its last round is long over.
    let data = house.close().await;
    let (plan, clock) = (
        ScrubPlan {
            every: Duration::ZERO,
            ..ScrubPlan::default()
        },
        Clock::default(),
    );
    let house = House::open_with(data, clock, |config| config.scrub = plan).await;
    let at = |guest: &Guest| Guest {
        address: house.server.address(),
        ..guest.clone()
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

    // One of them sends it again: healed for both.
    ben.store(&rotten).await;
    assert!(anna.has(&rotten).await);
    assert!(wanted(&anna).await.is_empty());
    let status: ServerStatus = anna.get(route::STATUS).await.json();
    assert_eq!((status.images, status.damaged_images), (2, 0));
    house.close().await;
}
