//! Shards that break under way: only the server knows how much of them arrived, so it is asked.

use std::time::Duration;

use heirloom_protocol::{ErrorCode, Fingerprint};

use super::fixture::{Fixture, photo};
use crate::journal::FileState;
use crate::remote::fake::Fault;

const ASKED: &str = "GET /v1/uploads/";

/// The lengths of the shards that were sent, in their order.
fn shards(house: &Fixture) -> Vec<usize> {
    let state = house.server.state();
    state
        .requests
        .iter()
        .filter(|(line, _)| line.starts_with("PUT"))
        .map(|(_, bytes)| *bytes)
        .collect()
}

#[tokio::test]
async fn of_a_shard_that_broke_only_what_did_not_arrive_is_sent_again() {
    let house = Fixture::paused().await;
    house.server.fail("PUT", Fault::CutInside(60_000));
    house.keep("photo.jpg", &photo(1, 200_000));
    house.until_settled(1).await;
    assert_eq!(shards(&house), [200_000, 140_000]);
    assert_eq!(house.server.state().count(ASKED), 1);
    house.end().await;
}

#[tokio::test]
async fn a_receipt_that_was_lost_on_its_way_costs_no_byte() {
    let house = Fixture::paused().await;
    house.server.fail("PUT", Fault::CutAfter);
    house.keep("photo.jpg", &photo(1, 200_000));
    house.until_settled(1).await;
    assert_eq!(shards(&house), [200_000]);
    house.end().await;
}

#[tokio::test]
async fn an_upload_that_nothing_happens_to_asks_nothing() {
    let house = Fixture::paused().await;
    house.keep("film.jpg", &photo(1, 40 << 20));
    house.until_settled(1).await;
    assert_eq!(house.server.state().count(ASKED), 0);
    house.end().await;
}

#[tokio::test]
async fn shards_that_break_together_are_one_failure() {
    let house = Fixture::paused().await;
    house.server.state().shard_takes = Duration::from_millis(20);
    for _ in 0..4 {
        house.server.fail("PUT", Fault::CutInside(100_000));
    }
    house.keep("film.jpg", &photo(1, 40 << 20));
    house.until_settled(1).await;
    let checks = house.server.state().count("/check");
    assert_eq!(checks, 1, "the delivery went on");
    let sent = shards(&house);
    let never_seen: usize = sent[..4].iter().map(|bytes| bytes - 100_000).sum();
    assert_eq!(
        sent.iter().sum::<usize>() - never_seen,
        40 << 20,
        "and nothing came twice"
    );
    house.end().await;
}

#[tokio::test]
async fn a_network_that_spoils_whole_images_makes_nobody_give_up_a_sound_file() {
    let house = Fixture::paused().await;
    for _ in 0..3 {
        house
            .server
            .fail("PUT", Fault::Problem(ErrorCode::FingerprintMismatch, None));
    }
    let sound = photo(1, 100_000);
    house.keep("photo.jpg", &sound);
    house.until_settled(1).await;
    assert!(matches!(
        house.state("photo.jpg"),
        FileState::BackedUp { .. }
    ));
    assert_eq!(house.server.state().images[&Fingerprint::of(&sound)], sound);
    house.end().await;
}
