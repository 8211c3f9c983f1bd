//! The uploader against a server that can fail: what the owner of a file may rely on.

mod interrupted_shards;
mod failures;
mod fixture;
mod in_memory;
mod batches;
mod resume;
mod real_server;

use std::time::Duration;

use heirloom_protocol::Fingerprint;

use super::{Connection, IN_FLIGHT_BYTES_MAX, REQUESTS_MAX};
use crate::journal::FileState;
use fixture::{Fixture, photo};

#[tokio::test]
async fn pending_photos_get_receipts_and_names_in_few_requests() {
    let fixture = Fixture::new().await;
    for number in 0..150 {
        fixture.add_photo(&format!("{number}.jpg"), &photo(number, 20_000));
    }
    fixture.until_backed_up(150).await;
    assert_eq!(fixture.server.state().images.len(), 150);
    assert_eq!(fixture.server.state().count("PUT"), 150);
    let checks = fixture.server.state().count("/check");
    assert!(checks < 12, "{checks} checks for 150 photos");
    fixture
        .server
        .until(|state| state.library.len() == 150)
        .await;
    assert!(fixture.server.state().count("/library") < 20);
    assert_eq!(fixture.uploader.status().connection, Connection::Online);
    assert_eq!(fixture.uploader.status().sent_bytes, 150 * 20_000);
    fixture.stop().await;
}

#[tokio::test]
async fn the_same_content_is_sent_once_and_completes_every_file() {
    let fixture = Fixture::idle().await;
    let content = photo(1, 3_000_000);
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        fixture.add_photo(name, &content);
    }
    fixture.wake();
    fixture.until_backed_up(3).await;
    assert_eq!(fixture.server.state().shard_bytes(), content.len());
    fixture.add_photo("later.jpg", &content);
    fixture.until_backed_up(4).await;
    assert_eq!(
        fixture.server.state().shard_bytes(),
        content.len(),
        "the sync list has it"
    );
    assert_eq!(
        fixture.uploader.status().saved_by_sync_list_bytes,
        3 * content.len() as u64
    );
    fixture.stop().await;
}

#[tokio::test]
async fn shard_buffers_are_reused_and_freed_when_idle() {
    let fixture = Fixture::idle().await;
    fixture.add_photo("a.jpg", &photo(1, 3_000_000));
    fixture.until_backed_up(1).await;
    assert!(
        !fixture.uploader.transport.buffers().is_empty(),
        "the next photo may follow at once"
    );
    fixture
        .until(|fixture| fixture.uploader.transport.buffers().is_empty())
        .await;
    fixture.stop().await;
}

#[tokio::test]
async fn what_the_server_has_is_not_sent() {
    let fixture = Fixture::idle().await;
    let (mine, theirs, new) = (photo(1, 100_000), photo(2, 100_000), photo(3, 100_000));
    fixture
        .server
        .state()
        .images
        .insert(Fingerprint::of(&mine), mine.clone());
    fixture
        .server
        .state()
        .other_users_images
        .insert(Fingerprint::of(&theirs), theirs.clone());
    for (name, content) in [
        ("mine.jpg", &mine),
        ("theirs.jpg", &theirs),
        ("new.jpg", &new),
    ] {
        fixture.add_photo(name, content);
    }
    fixture.wake();
    fixture.until_backed_up(3).await;
    let status = fixture.uploader.status();
    assert_eq!(fixture.server.state().shard_bytes(), 100_000);
    assert_eq!(
        (
            status.saved_by_check_bytes,
            status.saved_by_instant_upload_bytes
        ),
        (100_000, 100_000)
    );
    assert!(
        fixture
            .server
            .state()
            .images
            .contains_key(&Fingerprint::of(&theirs)),
        "linked after proof"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn shards_are_sent_in_parallel_within_the_budget() {
    let fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = Duration::from_millis(30);
    for number in 0..6 {
        fixture.add_photo(&format!("large{number}.jpg"), &photo(number, 20 << 20));
    }
    for number in 10..40 {
        fixture.add_photo(&format!("small{number}.jpg"), &photo(number, 300_000));
    }
    fixture.wake();
    fixture.until_backed_up(36).await;
    let most = fixture.server.state().max_in_flight;
    assert!(most.bytes <= IN_FLIGHT_BYTES_MAX as usize, "{most:?}");
    assert!(most.shards <= REQUESTS_MAX && most.shards >= 4, "{most:?}");
    assert_eq!(fixture.server.state().images.len(), 36);
    assert_eq!(
        fixture.server.state().shard_bytes(),
        6 * (20 << 20) + 30 * 300_000,
        "nothing twice"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn a_file_that_changes_during_its_upload_is_never_stored_as_a_mixture() {
    let fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = Duration::from_millis(50);
    let before = photo(1, 40 << 20);
    let id = fixture.add_photo("large.jpg", &before);
    fixture.wake();
    fixture.server.until(|state| state.count("PUT") >= 3).await;
    let after = photo(2, 40 << 20);
    fixture.write("large.jpg", &after);
    fixture.uploader.abandon(id);
    assert_eq!(fixture.uploader.progress(id), None);
    fixture.enqueue("large.jpg", &after);
    fixture.until_backed_up(1).await;
    let stored: Vec<Fingerprint> = fixture.server.state().images.keys().copied().collect();
    assert_eq!(stored, [Fingerprint::of(&after)]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_file_that_changes_unnoticed_is_not_stored_as_a_mixture_either() {
    let fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = Duration::from_millis(50);
    let before = photo(1, 40 << 20);
    let id = fixture.add_photo("large.jpg", &before);
    fixture.wake();
    fixture.server.until(|state| state.count("PUT") >= 3).await;
    fixture.write("large.jpg", &photo(2, 40 << 20));
    fixture
        .until(|fixture| fixture.uploader.progress(id).is_none())
        .await;
    assert!(fixture.server.state().images.is_empty());
    let sent = fixture.server.state().shard_bytes();
    assert!(
        sent < before.len(),
        "{sent} bytes: nothing is read after the change was seen"
    );
    assert!(
        matches!(fixture.state("large.jpg"), FileState::Pending { .. }),
        "intake queues it again"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn progress_is_what_the_server_acknowledged() {
    let fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = Duration::from_millis(50);
    let id = fixture.add_photo("large.jpg", &photo(1, 40 << 20));
    fixture.wake();
    fixture
        .until(|fixture| {
            fixture
                .uploader
                .progress(id)
                .is_some_and(|progress| progress.received_bytes > 0)
        })
        .await;
    let progress = fixture.uploader.progress(id).unwrap();
    assert_eq!(progress.total_bytes, 40 << 20);
    assert!(progress.received_bytes <= fixture.server.state().shard_bytes() as u64);
    assert_eq!(fixture.uploader.status().uploading.len(), 1);
    fixture.until_backed_up(1).await;
    assert!(fixture.uploader.status().uploading.is_empty());
    fixture.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_the_network() {
    let fixture = Fixture::idle().await;
    fixture
        .server
        .fail("PUT", crate::remote::fake::Fault::Stall);
    fixture.add_photo("photo.jpg", &photo(1, 1_000_000));
    fixture.wake();
    fixture.server.until(|_| true).await;
    fixture
        .until(|fixture| fixture.server.state().count("PUT") == 1)
        .await;
    let stopping = tokio::time::timeout(Duration::from_secs(2), fixture.uploader.stop());
    stopping.await.expect("within a second or so");
    assert!(matches!(
        fixture.state("photo.jpg"),
        FileState::Pending { .. }
    ));
    fixture.stop().await;
}

#[tokio::test]
async fn new_photos_do_not_wait_for_large_files() {
    let fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = Duration::from_millis(100);
    for number in 0..6 {
        fixture.add_photo(&format!("large{number}.jpg"), &photo(number, 40 << 20));
    }
    fixture.wake();
    fixture.server.until(|state| state.count("PUT") >= 8).await;
    fixture.add_photo("photo.jpg", &photo(99, 30_000));
    fixture.wake();
    fixture
        .server
        .until(|state| state.images.values().any(|image| image.len() == 30_000))
        .await;
    assert!(
        fixture.server.state().images.len() < 4,
        "before the large files"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn receipts_of_another_installation_are_not_used() {
    let mut fixture = Fixture::new().await;
    let content = photo(1, 50_000);
    fixture.add_photo("photo.jpg", &content);
    fixture.until_backed_up(1).await;
    fixture.server.until(|state| state.library.len() == 1).await;
    fixture.stop_client().await;
    {
        let mut state = fixture.server.state();
        state.installation = "f".repeat(32);
        state.images.clear();
        state.library.clear();
    }
    fixture.start_client();
    fixture
        .server
        .until(|state| state.images.len() == 1 && state.library.len() == 1)
        .await;
    fixture.stop().await;
}
