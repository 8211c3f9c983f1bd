//! Small photos that go together: what a broken way, a damaged byte or a changed file costs, and
//! whom.

use heirloom_protocol::{ErrorCode, Fingerprint};

use super::fixture::{Fixture, photo};
use crate::remote::fake::Fault;

/// Photos in these tests.
const PHOTOS: u64 = 100;

fn keep_all(house: &Fixture) {
    for number in 0..PHOTOS {
        house.keep(&format!("{number}.jpg"), &photo(number, 30_000));
    }
}

async fn all_are_there(house: &Fixture) {
    house.until_settled(PHOTOS).await;
    let state = house.server.state();
    assert!((0..PHOTOS).all(
        |number| state.images[&Fingerprint::of(&photo(number, 30_000))] == photo(number, 30_000)
    ));
}

#[tokio::test]
async fn a_hundred_small_photos_are_a_few_requests() {
    let house = Fixture::with_parcels().await;
    keep_all(&house);
    all_are_there(&house).await;
    let parcels = house.server.state().count("/parcels");
    let alone = house.server.state().count("PUT");
    assert!(
        parcels <= 8 && alone <= 4,
        "{parcels} parcels, {alone} alone"
    );
    assert_eq!(
        house.uploader.status().sent_bytes,
        PHOTOS * 30_000,
        "photos are counted, not the lists around them"
    );
    house.end().await;
}

#[tokio::test]
async fn a_photo_that_arrives_damaged_goes_again_by_itself_and_only_it() {
    let house = Fixture::with_parcels().await;
    house.server.state().damaging = [3, 5]
        .map(|number| Fingerprint::of(&photo(number, 30_000)))
        .into();
    keep_all(&house);
    all_are_there(&house).await;
    assert!(
        house.server.state().damaging.is_empty(),
        "both were in a parcel"
    );
    assert!((2..=4).contains(&house.server.state().count("PUT")));
    house.end().await;
}

#[tokio::test]
async fn a_parcel_whose_way_breaks_is_sent_again() {
    for fault in [
        Fault::Cut,
        Fault::CutAfter,
        Fault::Problem(ErrorCode::Unavailable, Some(0)),
    ] {
        let house = Fixture::with_parcels().await;
        house.server.fail("/parcels", fault.clone());
        keep_all(&house);
        all_are_there(&house).await;
        assert!(house.server.state().faults.is_empty(), "{fault:?}");
        house.end().await;
    }
}

#[tokio::test]
async fn photos_of_a_parcel_that_the_server_fails_at_go_by_themselves_next_time() {
    let house = Fixture::with_parcels().await;
    for _ in 0..20 {
        house
            .server
            .fail("/parcels", Fault::Problem(ErrorCode::Internal, None));
    }
    keep_all(&house);
    all_are_there(&house).await;
    assert!(
        house.server.state().count("/parcels") <= 8,
        "no photo was packed twice"
    );
    house.end().await;
}

#[tokio::test]
async fn photos_of_a_refused_parcel_go_by_themselves() {
    let house = Fixture::with_parcels().await;
    for _ in 0..20 {
        house
            .server
            .fail("/parcels", Fault::Problem(ErrorCode::NotFound, None));
    }
    keep_all(&house);
    all_are_there(&house).await;
    assert!(house.server.state().count("PUT") >= 90);
    house.end().await;
}

#[tokio::test]
async fn a_photo_that_changed_before_it_was_packed_is_not_sent_as_what_it_was() {
    let house = Fixture::with_parcels().await;
    keep_all(&house);
    let after = photo(999, 30_000);
    house.write("7.jpg", &after);
    house.go();
    house
        .until(|house| house.journal.tally().backed_up.files == PHOTOS - 1)
        .await;
    assert!(
        !house
            .server
            .state()
            .images
            .contains_key(&Fingerprint::of(&photo(7, 30_000))),
        "it stood nowhere any more"
    );
    house.promise("7.jpg", &after);
    house.until_settled(PHOTOS).await;
    assert!(
        house
            .server
            .state()
            .images
            .contains_key(&Fingerprint::of(&after))
    );
    house.end().await;
}
