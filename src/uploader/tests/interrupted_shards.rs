//! Interrupted shards: only the server knows how much of them arrived, so it is asked.

use std::time::Duration;

use heirloom_protocol::{ErrorCode, Fingerprint};

use super::fixture::{Fixture, photo};
use crate::journal::FileState;
use crate::remote::fake::Fault;

const STATE_QUERY: &str = "GET /v1/uploads/";

/// The lengths of the shards that were sent, in order.
fn shards(fixture: &Fixture) -> Vec<usize> {
    let state = fixture.server.state();
    state
        .requests
        .iter()
        .filter(|(line, _)| line.starts_with("PUT"))
        .map(|(_, bytes)| *bytes)
        .collect()
}

#[tokio::test]
async fn only_the_missing_bytes_of_an_interrupted_shard_are_sent_again() {
    let fixture = Fixture::idle().await;
    fixture.server.fail("PUT", Fault::CutInside(60_000));
    fixture.add_photo("photo.jpg", &photo(1, 200_000));
    fixture.until_backed_up(1).await;
    assert_eq!(shards(&fixture), [200_000, 140_000]);
    assert_eq!(fixture.server.state().count(STATE_QUERY), 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_lost_receipt_costs_no_byte() {
    let fixture = Fixture::idle().await;
    fixture.server.fail("PUT", Fault::CutAfter);
    fixture.add_photo("photo.jpg", &photo(1, 200_000));
    fixture.until_backed_up(1).await;
    assert_eq!(shards(&fixture), [200_000]);
    fixture.stop().await;
}

#[tokio::test]
async fn an_undisturbed_upload_never_asks_for_its_state() {
    let fixture = Fixture::idle().await;
    fixture.add_photo("large.jpg", &photo(1, 40 << 20));
    fixture.until_backed_up(1).await;
    assert_eq!(fixture.server.state().count(STATE_QUERY), 0);
    fixture.stop().await;
}

#[tokio::test]
async fn shards_interrupted_together_are_one_failure() {
    let fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = Duration::from_millis(20);
    for _ in 0..4 {
        fixture.server.fail("PUT", Fault::CutInside(100_000));
    }
    fixture.add_photo("large.jpg", &photo(1, 40 << 20));
    fixture.until_backed_up(1).await;
    let checks = fixture.server.state().count("/check");
    assert_eq!(checks, 1, "the upload went on");
    let sent = shards(&fixture);
    let never_seen: usize = sent[..4].iter().map(|bytes| bytes - 100_000).sum();
    assert_eq!(
        sent.iter().sum::<usize>() - never_seen,
        40 << 20,
        "and nothing came twice"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn a_network_that_damages_images_does_not_fail_an_intact_file() {
    let fixture = Fixture::idle().await;
    for _ in 0..3 {
        fixture
            .server
            .fail("PUT", Fault::Problem(ErrorCode::FingerprintMismatch, None));
    }
    let sound = photo(1, 100_000);
    fixture.add_photo("photo.jpg", &sound);
    fixture.until_backed_up(1).await;
    assert!(matches!(
        fixture.state("photo.jpg"),
        FileState::BackedUp { .. }
    ));
    assert_eq!(
        fixture.server.state().images[&Fingerprint::of(&sound)],
        sound
    );
    fixture.stop().await;
}
