//! Failures of network, server and disk: they cost time, never a photo.

use std::time::{Duration, Instant};

use heirloom_protocol::{ErrorCode, Fingerprint};

use super::fixture::{Fixture, photo};
use crate::journal::FileState;
use crate::remote::fake::Fault;
use crate::uploader::Connection;

#[tokio::test]
async fn files_stay_pending_while_offline_and_are_sent_when_the_server_is_back() {
    let mut fixture = Fixture::idle().await;
    fixture.server.stop().await;
    for number in 0..20 {
        fixture.add_photo(&format!("{number}.jpg"), &photo(number, 50_000));
    }
    fixture.wake();
    fixture
        .until(|fixture| {
            matches!(
                fixture.uploader.status().connection,
                Connection::Offline { .. }
            )
        })
        .await;
    let Connection::Offline { why, .. } = fixture.uploader.status().connection else {
        panic!("it was offline")
    };
    assert!(why.contains("127.0.0.1"), "{why}");
    assert_eq!(fixture.journal.tally().pending.files, 20);
    fixture.server.restart();
    fixture.until_backed_up(20).await;
    assert_eq!(fixture.uploader.status().connection, Connection::Online);
    fixture.stop().await;
}

#[tokio::test]
async fn a_server_crash_costs_only_the_shards_in_flight() {
    let mut fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = Duration::from_millis(30);
    let large = photo(1, 40 << 20);
    fixture.add_photo("large.jpg", &large);
    fixture.wake();
    fixture
        .server
        .until(|state| {
            state
                .uploads
                .values()
                .any(|upload| upload.received.byte_count() > 12 << 20)
        })
        .await;
    fixture.server.stop().await;
    fixture
        .until(|fixture| {
            matches!(
                fixture.uploader.status().connection,
                Connection::Offline { .. }
            )
        })
        .await;
    let arrived = fixture.server.state().uploads[&Fingerprint::of(&large)]
        .received
        .byte_count();
    let sent = fixture.server.state().shard_bytes() as u64;
    fixture.server.restart();
    fixture.until_backed_up(1).await;
    let resent = fixture.server.state().shard_bytes() as u64 - sent;
    assert_eq!(
        resent,
        large.len() as u64 - arrived,
        "resumes from the server's list"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn without_a_login_everything_stays_pending_and_is_reported() {
    let fixture = Fixture::idle().await;
    fixture.server.state().token = "another".to_owned();
    fixture.add_photo("photo.jpg", &photo(1, 100_000));
    fixture.wake();
    fixture
        .until(|fixture| fixture.uploader.status().connection == Connection::LoginNeeded)
        .await;
    assert!(matches!(
        fixture.state("photo.jpg"),
        FileState::Pending { .. }
    ));
    let asked = fixture.server.state().requests.len();
    for _ in 0..50 {
        fixture.wake();
        tokio::task::yield_now().await;
    }
    assert!(
        fixture.server.state().requests.len() <= asked + 1,
        "the server is not asked again and again"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn retry_after_of_a_busy_server_is_honoured() {
    let fixture = Fixture::idle().await;
    fixture
        .server
        .fail("PUT", Fault::Problem(ErrorCode::Unavailable, Some(2)));
    fixture.add_photo("photo.jpg", &photo(1, 100_000));
    fixture.wake();
    fixture
        .until(|fixture| {
            matches!(
                fixture.uploader.status().connection,
                Connection::Offline { .. }
            )
        })
        .await;
    let (since, asked) = (Instant::now(), fixture.server.state().requests.len());
    fixture.wake();
    fixture
        .server
        .until(|state| state.requests.len() > asked)
        .await;
    assert!(
        since.elapsed() > Duration::from_millis(1900),
        "{:?}",
        since.elapsed()
    );
    fixture.until_backed_up(1).await;
    fixture.stop().await;
}

#[tokio::test]
async fn shards_lost_by_the_network_are_sent_again_smaller() {
    let fixture = Fixture::idle().await;
    let shard = fixture.uploader.status().shard_bytes;
    fixture.server.fail("PUT", Fault::Cut);
    fixture.server.fail("PUT", Fault::CutAfter);
    fixture
        .server
        .fail("PUT", Fault::Status(413, "<html>too large</html>", None));
    fixture.add_photo("photo.jpg", &photo(1, 7_000_000));
    fixture.wake();
    fixture.until_backed_up(1).await;
    assert_eq!(fixture.server.state().images.len(), 1);
    assert!(fixture.uploader.status().shard_bytes < shard);
    fixture.stop().await;
}

#[tokio::test]
async fn bytes_damaged_in_transit_are_sent_again() {
    let fixture = Fixture::idle().await;
    fixture
        .server
        .fail("PUT", Fault::Problem(ErrorCode::DigestMismatch, None));
    fixture
        .server
        .fail("PUT", Fault::Problem(ErrorCode::FingerprintMismatch, None));
    fixture.add_photo("photo.jpg", &photo(1, 100_000));
    fixture.wake();
    fixture.until_backed_up(1).await;
    let sent = fixture.server.state().count("PUT");
    assert!(
        (3..=6).contains(&sent),
        "whole, then in halves, then from the start: {sent}"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn a_file_that_lost_its_fingerprint_fails_with_a_reason_and_blocks_no_other() {
    let fixture = Fixture::idle().await;
    for (name, size) in [("small.jpg", 100_000), ("large.jpg", 9 << 20)] {
        // Queued with another fingerprint than its own: a disk that lost a bit.
        fixture.write(name, &photo(1, size));
        fixture.enqueue(name, &photo(2, size));
    }
    fixture.add_photo("good.jpg", &photo(3, 100_000));
    fixture.until_backed_up(1).await;
    fixture
        .until(|fixture| fixture.uploader.status().failing.len() == 2)
        .await;
    let FileState::Failed { why, .. } = fixture.state("large.jpg") else {
        panic!("it failed")
    };
    assert!(why.contains("changed on disk"), "{why}");
    assert_eq!(fixture.server.state().images.len(), 1);
    fixture.stop().await;
}

#[tokio::test]
async fn an_image_too_large_for_the_server_fails_without_being_sent() {
    let fixture = Fixture::idle().await;
    fixture.server.state().limits.image_bytes_max = 50_000;
    fixture.stop_client().await;
    let mut fixture = fixture;
    fixture.start_client();
    fixture.add_photo("large.jpg", &photo(1, 50_001));
    fixture.add_photo("small.jpg", &photo(2, 50_000));
    fixture.until_backed_up(1).await;
    fixture
        .until(|fixture| fixture.journal.tally().failed.files == 1)
        .await;
    assert_eq!(fixture.server.state().count("PUT"), 1);
    fixture.stop().await;
}

#[tokio::test]
async fn one_image_that_makes_the_server_fail_does_not_block_the_others() {
    let fixture = Fixture::idle().await;
    let bad = photo(1, 100_000);
    let line: &'static str = Fingerprint::of(&bad).to_string().leak();
    for _ in 0..4 {
        fixture
            .server
            .fail(line, Fault::Problem(ErrorCode::Internal, None));
    }
    fixture.add_photo("bad.jpg", &bad);
    for number in 10..30 {
        fixture.add_photo(&format!("{number}.jpg"), &photo(number, 30_000));
    }
    fixture.until_backed_up(20).await;
    assert_eq!(fixture.uploader.status().connection, Connection::Online);
    fixture.until_backed_up(21).await;
    fixture.stop().await;
}

#[tokio::test]
async fn garbage_responses_lose_nothing() {
    let fixture = Fixture::idle().await;
    fixture
        .server
        .fail("/check", Fault::Garbage("<html>hotel</html>"));
    fixture
        .server
        .fail("PUT", Fault::Garbage("{\"state\":\"stored\"}"));
    fixture.add_photo("photo.jpg", &photo(1, 100_000));
    fixture.until_backed_up(1).await;
    assert_eq!(fixture.server.state().images.len(), 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_deleted_file_is_skipped_and_another_with_its_content_is_sent() {
    let fixture = Fixture::idle().await;
    let content = photo(1, 100_000);
    fixture.add_photo("a.jpg", &content);
    fixture.add_photo("b.jpg", &content);
    fixture.add_photo("gone.jpg", &photo(2, 100_000));
    std::fs::remove_file(fixture.spool.root().join("b.jpg")).unwrap();
    std::fs::remove_file(fixture.spool.root().join("gone.jpg")).unwrap();
    fixture.until_backed_up(1).await;
    assert!(matches!(fixture.state("a.jpg"), FileState::BackedUp { .. }));
    assert_eq!(fixture.journal.tally().failed.files, 0);
    fixture.stop().await;
}
