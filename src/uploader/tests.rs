//! The uploader against a server that can fail: what a file's owner may rely on.

mod interrupted_shards;
mod failures;
mod fixture;
mod batches;
mod resume;
mod real_server;

use std::time::Duration;

use heirloom_protocol::Fingerprint;

use super::Connection;
use super::budget::{IN_FLIGHT_BYTES_MAX, REQUESTS_MAX};
use crate::journal::FileState;
use fixture::{Fixture, photo};

#[tokio::test]
async fn a_batch_walks_from_promises_to_receipts_and_names() {
    let house = Fixture::new().await;
    for number in 0..150 {
        house.keep(&format!("{number}.jpg"), &photo(number, 20_000));
    }
    house.until_settled(150).await;
    assert_eq!(house.server.state().images.len(), 150);
    assert_eq!(house.server.state().count("PUT"), 150);
    let checks = house.server.state().count("/check");
    assert!(checks < 12, "{checks} checks for 150 photos");
    house.server.until(|state| state.library.len() == 150).await;
    assert!(house.server.state().count("/library") < 20);
    assert_eq!(house.uploader.status().connection, Connection::Online);
    assert_eq!(house.uploader.status().sent_bytes, 150 * 20_000);
    house.end().await;
}

#[tokio::test]
async fn the_same_content_is_sent_once_and_settles_every_file() {
    let house = Fixture::paused().await;
    let content = photo(1, 3_000_000);
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        house.keep(name, &content);
    }
    house.go();
    house.until_settled(3).await;
    assert_eq!(house.server.state().shard_bytes(), content.len());
    house.keep("later.jpg", &content);
    house.until_settled(4).await;
    assert_eq!(
        house.server.state().shard_bytes(),
        content.len(),
        "the sync list has it"
    );
    assert_eq!(
        house.uploader.status().saved_by_sync_list_bytes,
        3 * content.len() as u64
    );
    house.end().await;
}

#[tokio::test]
async fn memory_for_shards_is_used_again_and_given_back_at_rest() {
    let house = Fixture::paused().await;
    house.keep("a.jpg", &photo(1, 3_000_000));
    house.until_settled(1).await;
    assert!(
        !house.uploader.transport.trays().is_empty(),
        "the next photo may follow at once"
    );
    house
        .until(|house| house.uploader.transport.trays().is_empty())
        .await;
    house.end().await;
}

#[tokio::test]
async fn what_the_server_has_is_not_sent() {
    let house = Fixture::paused().await;
    let (mine, theirs, new) = (photo(1, 100_000), photo(2, 100_000), photo(3, 100_000));
    house
        .server
        .state()
        .images
        .insert(Fingerprint::of(&mine), mine.clone());
    house
        .server
        .state()
        .strangers
        .insert(Fingerprint::of(&theirs), theirs.clone());
    for (name, content) in [
        ("mine.jpg", &mine),
        ("theirs.jpg", &theirs),
        ("new.jpg", &new),
    ] {
        house.keep(name, content);
    }
    house.go();
    house.until_settled(3).await;
    let status = house.uploader.status();
    assert_eq!(house.server.state().shard_bytes(), 100_000);
    assert_eq!(
        (
            status.saved_by_check_bytes,
            status.saved_by_instant_upload_bytes
        ),
        (100_000, 100_000)
    );
    assert!(
        house
            .server
            .state()
            .images
            .contains_key(&Fingerprint::of(&theirs)),
        "linked after proof"
    );
    house.end().await;
}

#[tokio::test]
async fn shards_go_side_by_side_and_never_beyond_the_budget() {
    let house = Fixture::paused().await;
    house.server.state().shard_takes = Duration::from_millis(30);
    for number in 0..6 {
        house.keep(&format!("large{number}.jpg"), &photo(number, 20 << 20));
    }
    for number in 10..40 {
        house.keep(&format!("small{number}.jpg"), &photo(number, 300_000));
    }
    house.go();
    house.until_settled(36).await;
    let most = house.server.state().most;
    assert!(most.bytes <= IN_FLIGHT_BYTES_MAX as usize, "{most:?}");
    assert!(most.shards <= REQUESTS_MAX && most.shards >= 4, "{most:?}");
    assert_eq!(house.server.state().images.len(), 36);
    assert_eq!(
        house.server.state().shard_bytes(),
        6 * (20 << 20) + 30 * 300_000,
        "nothing twice"
    );
    house.end().await;
}

#[tokio::test]
async fn a_file_that_changes_under_way_is_never_stored_as_a_mixture() {
    let house = Fixture::paused().await;
    house.server.state().shard_takes = Duration::from_millis(50);
    let before = photo(1, 40 << 20);
    let id = house.keep("film.jpg", &before);
    house.go();
    house.server.until(|state| state.count("PUT") >= 3).await;
    let after = photo(2, 40 << 20);
    house.write("film.jpg", &after);
    house.uploader.abandon(id);
    assert_eq!(house.uploader.progress(id), None);
    house.promise("film.jpg", &after);
    house.until_settled(1).await;
    let stored: Vec<Fingerprint> = house.server.state().images.keys().copied().collect();
    assert_eq!(stored, [Fingerprint::of(&after)]);
    house.end().await;
}

#[tokio::test]
async fn a_file_that_changes_unheard_of_is_not_stored_as_a_mixture_either() {
    let house = Fixture::paused().await;
    house.server.state().shard_takes = Duration::from_millis(50);
    let before = photo(1, 40 << 20);
    let id = house.keep("film.jpg", &before);
    house.go();
    house.server.until(|state| state.count("PUT") >= 3).await;
    house.write("film.jpg", &photo(2, 40 << 20));
    house
        .until(|house| house.uploader.progress(id).is_none())
        .await;
    assert!(house.server.state().images.is_empty());
    let sent = house.server.state().shard_bytes();
    assert!(
        sent < before.len(),
        "{sent} bytes: nothing is read after the change was seen"
    );
    assert!(
        matches!(house.state("film.jpg"), FileState::Pending { .. }),
        "it is for intake to promise anew"
    );
    house.end().await;
}

#[tokio::test]
async fn progress_is_what_the_server_acknowledged() {
    let house = Fixture::paused().await;
    house.server.state().shard_takes = Duration::from_millis(50);
    let id = house.keep("film.jpg", &photo(1, 40 << 20));
    house.go();
    house
        .until(|house| {
            house
                .uploader
                .progress(id)
                .is_some_and(|progress| progress.received_bytes > 0)
        })
        .await;
    let progress = house.uploader.progress(id).unwrap();
    assert_eq!(progress.total_bytes, 40 << 20);
    assert!(progress.received_bytes <= house.server.state().shard_bytes() as u64);
    assert_eq!(house.uploader.status().uploading.len(), 1);
    house.until_settled(1).await;
    assert!(house.uploader.status().uploading.is_empty());
    house.end().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_the_network() {
    let house = Fixture::paused().await;
    house.server.fail("PUT", crate::remote::fake::Fault::Stall);
    house.keep("photo.jpg", &photo(1, 1_000_000));
    house.go();
    house.server.until(|_| true).await;
    house
        .until(|house| house.server.state().count("PUT") == 1)
        .await;
    let stopping = tokio::time::timeout(Duration::from_secs(2), house.uploader.stop());
    stopping.await.expect("within a second or so");
    assert!(matches!(
        house.state("photo.jpg"),
        FileState::Pending { .. }
    ));
    house.end().await;
}

#[tokio::test]
async fn new_photos_are_not_kept_waiting_by_films() {
    let house = Fixture::paused().await;
    house.server.state().shard_takes = Duration::from_millis(100);
    for number in 0..6 {
        house.keep(&format!("film{number}.jpg"), &photo(number, 40 << 20));
    }
    house.go();
    house.server.until(|state| state.count("PUT") >= 8).await;
    house.keep("photo.jpg", &photo(99, 30_000));
    house.go();
    house
        .server
        .until(|state| state.images.values().any(|image| image.len() == 30_000))
        .await;
    assert!(house.server.state().images.len() < 4, "before the films");
    house.end().await;
}

#[tokio::test]
async fn another_installation_is_not_taken_for_the_one_that_gave_the_receipts() {
    let mut house = Fixture::new().await;
    let content = photo(1, 50_000);
    house.keep("photo.jpg", &content);
    house.until_settled(1).await;
    house.server.until(|state| state.library.len() == 1).await;
    house.stop_client().await;
    {
        let mut state = house.server.state();
        state.installation = "f".repeat(32);
        state.images.clear();
        state.library.clear();
    }
    house.start_client();
    house
        .server
        .until(|state| state.images.len() == 1 && state.library.len() == 1)
        .await;
    house.end().await;
}
