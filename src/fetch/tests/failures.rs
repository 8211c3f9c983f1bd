//! Failures: bytes that do not arrive, or are wrong.

use heirloom_protocol::ErrorCode;

use super::*;
use crate::remote::fake::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_with_the_server_away_fails_after_the_timeout_and_status_says_why() {
    let mut device = Device::new().await;
    let content = photo(300_000);
    let id = device.add_placeholder("a.jpg", &content);
    device.server.stop().await;
    let begun = std::time::Instant::now();
    let error = device.read("a.jpg", 0, 10).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Timeout { cause: Some(cause), .. } if cause.contains("refused")),
        "{error:?}"
    );
    assert!(begun.elapsed() >= READ_TIMEOUT_SHORT && begun.elapsed() < DEADLINE);
    let errors = device.fetcher.status().errors;
    assert!(
        errors.len() == 1 && errors[0].0 == id && errors[0].1.contains("refused"),
        "{errors:?}"
    );
    device.server.restart();
    assert_eq!(device.read("a.jpg", 0, 10).await.unwrap(), content[..10]);
    assert_eq!(device.fetcher.status().errors, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_survives_a_short_network_failure() {
    let device = Device::with_read_timeout(DEADLINE).await;
    let content = photo(3_000_000);
    device.add_placeholder("a.jpg", &content);
    for _ in 0..2 {
        device
            .server
            .fail("/images/", Fault::Problem(ErrorCode::Unavailable, None));
    }
    device.server.fail("/images/", Fault::Cut);
    assert_eq!(device.read("a.jpg", 0, 3_000_000).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_connection_fails_its_read_and_no_other() {
    let device = Device::new().await;
    device.add_placeholder("a.jpg", &photo(300_000));
    let other = photo(1000);
    device.add_placeholder("b.jpg", &other);
    device.server.fail("/images/", Fault::Stall);
    let (guard, file) = device.open("a.jpg");
    let stuck = read(&guard, &file, 0, 10);
    let fine = device.read("b.jpg", 0, 1000);
    let (stuck, fine) = tokio::join!(stuck, async {
        tokio::time::sleep(READ_TIMEOUT_SHORT / 10).await;
        fine.await
    });
    assert!(matches!(stuck.unwrap_err(), FetchError::Timeout { .. }));
    assert_eq!(fine.unwrap(), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_with_a_wrong_fingerprint_never_become_the_content() {
    let device = Device::new().await;
    let content = photo(300_000);
    let id = device.add_placeholder("a.jpg", &content);
    let fingerprint = Fingerprint::of(&content);
    device
        .server
        .state()
        .images
        .insert(fingerprint, photo(300_001)[..300_000].to_vec());
    let (guard, file) = device.open("a.jpg");
    assert!(matches!(
        whole(&guard).await.unwrap_err(),
        FetchError::Corrupt
    ));
    let found = device
        .placeholder("a.jpg")
        .expect("it is still a placeholder");
    assert!(found.held.is_empty(), "none of its bytes is trusted");
    assert_eq!(
        crate::spool::Metadata::of(&file).unwrap().blocks,
        0,
        "none of its bytes is kept"
    );
    assert_eq!(device.state(id), FileState::Placeholder { fingerprint });
    assert!(
        device.fetcher.status().errors[0]
            .1
            .contains("not this photo")
    );
    device
        .server
        .state()
        .images
        .insert(fingerprint, content.clone());
    whole(&guard).await.unwrap();
    assert_eq!(read(&guard, &file, 0, 300_000).await.unwrap(), content);
    assert_eq!(device.fetcher.status().errors, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_the_server_does_not_have_fails_at_once() {
    let device = Device::with_read_timeout(DEADLINE).await;
    let content = photo(1000);
    device.add_placeholder("a.jpg", &content);
    device.server.state().images.clear();
    let begun = std::time::Instant::now();
    assert!(matches!(
        device.read("a.jpg", 0, 10).await.unwrap_err(),
        FetchError::Refused(_)
    ));
    assert!(begun.elapsed() < DEADLINE / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_placeholder_is_never_filled() {
    let device = Device::with_read_timeout(DEADLINE).await;
    device.add_placeholder("a.jpg", &photo(8_000_000));
    let (guard, file) = device.open("a.jpg");
    read(&guard, &file, 100_000, 10).await.unwrap();
    guard.placeholder().unwrap().discard().unwrap();
    let writer = device
        .spool
        .open_file(
            &path("a.jpg"),
            OpenOptions {
                access: Access::ReadWrite,
                ..READING
            },
        )
        .unwrap();
    writer.set_len(0).unwrap();
    tokio::time::sleep(READ_TIMEOUT_SHORT / 2).await;
    assert_eq!(writer.metadata().unwrap().len(), 0);
    assert_eq!(device.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_reader_does_not_wait() {
    let mut device = Device::with_read_timeout(DEADLINE).await;
    device.add_placeholder("a.jpg", &photo(1000));
    device.server.stop().await;
    let (guard, _file) = device.open("a.jpg");
    let (sender, receiver) = oneshot::channel();
    // No thread has this id: gone already.
    guard
        .placeholder()
        .unwrap()
        .fetch(0, 10, InterruptProbe::new(u32::MAX), |outcome| {
            sender.send(outcome).unwrap();
        });
    let begun = std::time::Instant::now();
    assert!(matches!(receiver.await.unwrap(), Err(FetchError::Killed)));
    assert!(begun.elapsed() < DEADLINE / 2);
    assert_eq!(
        device.fetcher.status().errors,
        [],
        "that is not an error of the photo"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unmounting_ends_every_wait() {
    let mut device = Device::with_read_timeout(DEADLINE).await;
    device.add_placeholder("a.jpg", &photo(1000));
    device.server.stop().await;
    let (guard, file) = device.open("a.jpg");
    let fetcher = device.fetcher.clone();
    let (outcome, ()) = tokio::join!(read(&guard, &file, 0, 10), async move {
        tokio::time::sleep(READ_TIMEOUT_SHORT / 10).await;
        fetcher.stop();
    });
    assert!(matches!(outcome.unwrap_err(), FetchError::Unmounting));
}
