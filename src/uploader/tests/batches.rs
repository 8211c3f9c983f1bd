//! Batches of small photos: what an interrupted request, a damaged byte or a changed file costs.

use heirloom_protocol::{ErrorCode, Fingerprint};

use super::fixture::{Fixture, photo};
use crate::remote::fake::Fault;

/// Photos in each test.
const PHOTOS: u64 = 100;

fn add_all(fixture: &Fixture) {
    for number in 0..PHOTOS {
        fixture.add_photo(&format!("{number}.jpg"), &photo(number, 30_000));
    }
}

async fn all_are_stored(fixture: &Fixture) {
    fixture.until_backed_up(PHOTOS).await;
    let state = fixture.server.state();
    assert!((0..PHOTOS).all(
        |number| state.images[&Fingerprint::of(&photo(number, 30_000))] == photo(number, 30_000)
    ));
}

#[tokio::test]
async fn a_hundred_small_photos_are_a_few_requests() {
    let fixture = Fixture::with_batches().await;
    add_all(&fixture);
    all_are_stored(&fixture).await;
    let batches = fixture.server.state().count("/parcels");
    let alone = fixture.server.state().count("PUT");
    assert!(
        batches <= 8 && alone <= 4,
        "{batches} batches, {alone} alone"
    );
    assert_eq!(
        fixture.uploader.status().sent_bytes,
        PHOTOS * 30_000,
        "photos are counted, not the lists around them"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn only_a_photo_damaged_in_transit_is_sent_again_and_alone() {
    let fixture = Fixture::with_batches().await;
    fixture.server.state().damaged_in_transit = [3, 5]
        .map(|number| Fingerprint::of(&photo(number, 30_000)))
        .into();
    add_all(&fixture);
    all_are_stored(&fixture).await;
    assert!(
        fixture.server.state().damaged_in_transit.is_empty(),
        "both were in a batch"
    );
    assert!((2..=4).contains(&fixture.server.state().count("PUT")));
    fixture.stop().await;
}

#[tokio::test]
async fn an_interrupted_batch_is_sent_again() {
    for fault in [
        Fault::Cut,
        Fault::CutAfter,
        Fault::Problem(ErrorCode::Unavailable, Some(0)),
    ] {
        let fixture = Fixture::with_batches().await;
        fixture.server.fail("/parcels", fault.clone());
        add_all(&fixture);
        all_are_stored(&fixture).await;
        assert!(fixture.server.state().faults.is_empty(), "{fault:?}");
        fixture.stop().await;
    }
}

#[tokio::test]
async fn photos_of_a_batch_that_failed_on_the_server_are_retried_alone() {
    let fixture = Fixture::with_batches().await;
    for _ in 0..20 {
        fixture
            .server
            .fail("/parcels", Fault::Problem(ErrorCode::Internal, None));
    }
    add_all(&fixture);
    all_are_stored(&fixture).await;
    assert!(
        fixture.server.state().count("/parcels") <= 8,
        "no photo was in two batches"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn photos_of_a_refused_batch_are_sent_alone() {
    let fixture = Fixture::with_batches().await;
    for _ in 0..20 {
        fixture
            .server
            .fail("/parcels", Fault::Problem(ErrorCode::NotFound, None));
    }
    add_all(&fixture);
    all_are_stored(&fixture).await;
    assert!(fixture.server.state().count("PUT") >= 90);
    fixture.stop().await;
}

#[tokio::test]
async fn a_photo_that_changed_before_its_batch_was_read_is_not_sent() {
    let fixture = Fixture::with_batches().await;
    add_all(&fixture);
    let after = photo(999, 30_000);
    fixture.write("7.jpg", &after);
    fixture.wake();
    fixture
        .until(|fixture| fixture.journal.tally().backed_up.files == PHOTOS - 1)
        .await;
    assert!(
        !fixture
            .server
            .state()
            .images
            .contains_key(&Fingerprint::of(&photo(7, 30_000))),
        "no file has this content any more"
    );
    fixture.enqueue("7.jpg", &after);
    fixture.until_backed_up(PHOTOS).await;
    assert!(
        fixture
            .server
            .state()
            .images
            .contains_key(&Fingerprint::of(&after))
    );
    fixture.stop().await;
}
