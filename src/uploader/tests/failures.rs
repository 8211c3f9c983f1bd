//! What goes wrong, and what it may cost: time, never a photo.

use std::time::{Duration, Instant};

use heirloom_protocol::{ErrorCode, Fingerprint};

use super::fixture::{Fixture, photo};
use crate::journal::FileState;
use crate::remote::fake::Fault;
use crate::uploader::Connection;

#[tokio::test]
async fn offline_keeps_everything_pending_and_goes_on_when_the_server_is_back() {
    let mut house = Fixture::paused().await;
    house.server.stop().await;
    for number in 0..20 {
        house.keep(&format!("{number}.jpg"), &photo(number, 50_000));
    }
    house.go();
    house
        .until(|house| {
            matches!(
                house.uploader.status().connection,
                Connection::Offline { .. }
            )
        })
        .await;
    let Connection::Offline { why, .. } = house.uploader.status().connection else {
        panic!("it was offline")
    };
    assert!(why.contains("127.0.0.1"), "{why}");
    assert_eq!(house.journal.tally().pending.files, 20);
    house.server.start_again();
    house.until_settled(20).await;
    assert_eq!(house.uploader.status().connection, Connection::Online);
    house.end().await;
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_costs_only_what_was_under_way() {
    let mut house = Fixture::paused().await;
    house.server.state().shard_takes = Duration::from_millis(30);
    let film = photo(1, 40 << 20);
    house.keep("film.jpg", &film);
    house.go();
    house
        .server
        .until(|state| {
            state
                .uploads
                .values()
                .any(|upload| upload.received.byte_count() > 12 << 20)
        })
        .await;
    house.server.stop().await;
    house
        .until(|house| {
            matches!(
                house.uploader.status().connection,
                Connection::Offline { .. }
            )
        })
        .await;
    let arrived = house.server.state().uploads[&Fingerprint::of(&film)]
        .received
        .byte_count();
    let sent = house.server.state().shard_bytes() as u64;
    house.server.start_again();
    house.until_settled(1).await;
    let resent = house.server.state().shard_bytes() as u64 - sent;
    assert_eq!(
        resent,
        film.len() as u64 - arrived,
        "goes on from the server's list"
    );
    house.end().await;
}

#[tokio::test]
async fn without_a_login_everything_stays_pending_and_says_so() {
    let house = Fixture::paused().await;
    house.server.state().token = "another".to_owned();
    house.keep("photo.jpg", &photo(1, 100_000));
    house.go();
    house
        .until(|house| house.uploader.status().connection == Connection::LoginNeeded)
        .await;
    assert!(matches!(
        house.state("photo.jpg"),
        FileState::Pending { .. }
    ));
    let asked = house.server.state().requests.len();
    for _ in 0..50 {
        house.go();
        tokio::task::yield_now().await;
    }
    assert!(
        house.server.state().requests.len() <= asked + 1,
        "it is not asked again and again"
    );
    house.end().await;
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asked() {
    let house = Fixture::paused().await;
    house
        .server
        .fail("PUT", Fault::Problem(ErrorCode::Unavailable, Some(2)));
    house.keep("photo.jpg", &photo(1, 100_000));
    house.go();
    house
        .until(|house| {
            matches!(
                house.uploader.status().connection,
                Connection::Offline { .. }
            )
        })
        .await;
    let (since, asked) = (Instant::now(), house.server.state().requests.len());
    house.go();
    house
        .server
        .until(|state| state.requests.len() > asked)
        .await;
    assert!(
        since.elapsed() > Duration::from_millis(1900),
        "{:?}",
        since.elapsed()
    );
    house.until_settled(1).await;
    house.end().await;
}

#[tokio::test]
async fn shards_that_the_network_swallows_are_sent_again_smaller() {
    let house = Fixture::paused().await;
    let shard = house.uploader.status().shard_bytes;
    house.server.fail("PUT", Fault::Cut);
    house.server.fail("PUT", Fault::CutAfter);
    house
        .server
        .fail("PUT", Fault::Status(413, "<html>too large</html>", None));
    house.keep("photo.jpg", &photo(1, 7_000_000));
    house.go();
    house.until_settled(1).await;
    assert_eq!(house.server.state().images.len(), 1);
    assert!(house.uploader.status().shard_bytes < shard);
    house.end().await;
}

#[tokio::test]
async fn bytes_damaged_on_the_way_are_sent_again() {
    let house = Fixture::paused().await;
    house
        .server
        .fail("PUT", Fault::Problem(ErrorCode::DigestMismatch, None));
    house
        .server
        .fail("PUT", Fault::Problem(ErrorCode::FingerprintMismatch, None));
    house.keep("photo.jpg", &photo(1, 100_000));
    house.go();
    house.until_settled(1).await;
    let sent = house.server.state().count("PUT");
    assert!(
        (3..=6).contains(&sent),
        "whole, then in halves, then from the start: {sent}"
    );
    house.end().await;
}

#[tokio::test]
async fn a_file_that_does_not_have_its_fingerprint_fails_with_a_reason_and_blocks_nobody() {
    let house = Fixture::paused().await;
    for (name, size) in [("small.jpg", 100_000), ("large.jpg", 9 << 20)] {
        // Promised as something else than it is: a disk that forgot a bit.
        house.write(name, &photo(1, size));
        house.promise(name, &photo(2, size));
    }
    house.keep("good.jpg", &photo(3, 100_000));
    house.until_settled(1).await;
    house
        .until(|house| house.uploader.status().failing.len() == 2)
        .await;
    let FileState::Failed { why, .. } = house.state("large.jpg") else {
        panic!("it failed")
    };
    assert!(why.contains("fingerprint"), "{why}");
    assert_eq!(house.server.state().images.len(), 1);
    house.end().await;
}

#[tokio::test]
async fn an_image_that_the_server_can_never_take_fails_without_being_sent() {
    let house = Fixture::paused().await;
    house.server.state().limits.image_bytes_max = 50_000;
    house.stop_client().await;
    let mut house = house;
    house.start_client();
    house.keep("large.jpg", &photo(1, 50_001));
    house.keep("small.jpg", &photo(2, 50_000));
    house.until_settled(1).await;
    house
        .until(|house| house.journal.tally().failed.files == 1)
        .await;
    assert_eq!(house.server.state().count("PUT"), 1);
    house.end().await;
}

#[tokio::test]
async fn one_image_that_the_server_chokes_on_does_not_hold_up_the_others() {
    let house = Fixture::paused().await;
    let bad = photo(1, 100_000);
    let line: &'static str = Fingerprint::of(&bad).to_string().leak();
    for _ in 0..4 {
        house
            .server
            .fail(line, Fault::Problem(ErrorCode::Internal, None));
    }
    house.keep("bad.jpg", &bad);
    for number in 10..30 {
        house.keep(&format!("{number}.jpg"), &photo(number, 30_000));
    }
    house.until_settled(20).await;
    assert_eq!(house.uploader.status().connection, Connection::Online);
    house.until_settled(21).await;
    house.end().await;
}

#[tokio::test]
async fn garbage_in_answers_loses_nothing() {
    let house = Fixture::paused().await;
    house
        .server
        .fail("/check", Fault::Garbage("<html>hotel</html>"));
    house
        .server
        .fail("PUT", Fault::Garbage("{\"state\":\"stored\"}"));
    house.keep("photo.jpg", &photo(1, 100_000));
    house.until_settled(1).await;
    assert_eq!(house.server.state().images.len(), 1);
    house.end().await;
}

#[tokio::test]
async fn a_file_that_is_gone_is_skipped_and_another_of_the_same_content_stands_in() {
    let house = Fixture::paused().await;
    let content = photo(1, 100_000);
    house.keep("a.jpg", &content);
    house.keep("b.jpg", &content);
    house.keep("gone.jpg", &photo(2, 100_000));
    std::fs::remove_file(house.spool.root().join("b.jpg")).unwrap();
    std::fs::remove_file(house.spool.root().join("gone.jpg")).unwrap();
    house.until_settled(1).await;
    assert!(matches!(house.state("a.jpg"), FileState::BackedUp { .. }));
    assert_eq!(house.journal.tally().failed.files, 0);
    house.end().await;
}
