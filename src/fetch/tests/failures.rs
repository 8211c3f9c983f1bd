//! What does not come, and what comes wrong.

use heirloom_protocol::ErrorCode;

use super::*;
use crate::remote::fake::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_within_the_limit_and_status_says_why() {
    let mut house = House::new().await;
    let content = photo(300_000);
    let id = house.absent("a.jpg", &content);
    house.server.stop().await;
    let begun = std::time::Instant::now();
    let error = house.read("a.jpg", 0, 10).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Timeout { why: Some(why), .. } if why.contains("refused")),
        "{error:?}"
    );
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < SURELY);
    let troubles = house.fetcher.status().errors;
    assert!(
        troubles.len() == 1 && troubles[0].0 == id && troubles[0].1.contains("refused"),
        "{troubles:?}"
    );
    house.server.start_again();
    assert_eq!(house.read("a.jpg", 0, 10).await.unwrap(), content[..10]);
    assert_eq!(house.fetcher.status().errors, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_in_time_is_not_noticed() {
    let house = House::with_patience(SURELY).await;
    let content = photo(3_000_000);
    house.absent("a.jpg", &content);
    for _ in 0..2 {
        house
            .server
            .fail("/images/", Fault::Problem(ErrorCode::Unavailable, None));
    }
    house.server.fail("/images/", Fault::Cut);
    assert_eq!(house.read("a.jpg", 0, 3_000_000).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_moves_ends_the_read_not_the_house() {
    let house = House::new().await;
    house.absent("a.jpg", &photo(300_000));
    let other = photo(1000);
    house.absent("b.jpg", &other);
    house.server.fail("/images/", Fault::Stall);
    let (opened, file) = house.open("a.jpg");
    let stuck = read(&opened, &file, 0, 10);
    let fine = house.read("b.jpg", 0, 1000);
    let (stuck, fine) = tokio::join!(stuck, async {
        tokio::time::sleep(SHORT / 10).await;
        fine.await
    });
    assert!(matches!(stuck.unwrap_err(), FetchError::Timeout { .. }));
    assert_eq!(fine.unwrap(), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_the_photo_never_become_its_content() {
    let house = House::new().await;
    let content = photo(300_000);
    let id = house.absent("a.jpg", &content);
    let fingerprint = Fingerprint::of(&content);
    house
        .server
        .state()
        .images
        .insert(fingerprint, photo(300_001)[..300_000].to_vec());
    let (opened, file) = house.open("a.jpg");
    assert!(matches!(
        whole(&opened).await.unwrap_err(),
        FetchError::Corrupt
    ));
    let found = house
        .placeholder("a.jpg")
        .expect("it is still a placeholder");
    assert!(found.held.is_empty(), "nothing of it is believed");
    assert_eq!(
        crate::spool::Metadata::of(&file).unwrap().blocks,
        0,
        "nothing of it is kept"
    );
    assert_eq!(house.state(id), FileState::Placeholder { fingerprint });
    assert!(
        house.fetcher.status().errors[0]
            .1
            .contains("not this photo")
    );
    house
        .server
        .state()
        .images
        .insert(fingerprint, content.clone());
    whole(&opened).await.unwrap();
    assert_eq!(read(&opened, &file, 0, 300_000).await.unwrap(), content);
    assert_eq!(house.fetcher.status().errors, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_the_server_does_not_have_is_refused_at_once() {
    let house = House::with_patience(SURELY).await;
    let content = photo(1000);
    house.absent("a.jpg", &content);
    house.server.state().images.clear();
    let begun = std::time::Instant::now();
    assert!(matches!(
        house.read("a.jpg", 0, 10).await.unwrap_err(),
        FetchError::Refused(_)
    ));
    assert!(begun.elapsed() < SURELY / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_emptied_is_never_written_to_again() {
    let house = House::with_patience(SURELY).await;
    house.absent("a.jpg", &photo(8_000_000));
    let (opened, file) = house.open("a.jpg");
    read(&opened, &file, 100_000, 10).await.unwrap();
    opened.placeholder().unwrap().discard().unwrap();
    let writer = house
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
    tokio::time::sleep(SHORT / 2).await;
    assert_eq!(writer.metadata().unwrap().len(), 0);
    assert_eq!(house.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_is_being_killed_is_not_kept_waiting() {
    let mut house = House::with_patience(SURELY).await;
    house.absent("a.jpg", &photo(1000));
    house.server.stop().await;
    let (opened, _file) = house.open("a.jpg");
    let (tell, told) = oneshot::channel();
    // Nobody has this number: gone already.
    opened
        .placeholder()
        .unwrap()
        .fetch(0, 10, InterruptProbe::new(u32::MAX), |outcome| {
            tell.send(outcome).unwrap();
        });
    let begun = std::time::Instant::now();
    assert!(matches!(told.await.unwrap(), Err(FetchError::Killed)));
    assert!(begun.elapsed() < SURELY / 2);
    assert_eq!(
        house.fetcher.status().errors,
        [],
        "that is nobody's trouble"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_mount_ends_every_wait() {
    let mut house = House::with_patience(SURELY).await;
    house.absent("a.jpg", &photo(1000));
    house.server.stop().await;
    let (opened, file) = house.open("a.jpg");
    let fetcher = house.fetcher.clone();
    let (outcome, ()) = tokio::join!(read(&opened, &file, 0, 10), async move {
        tokio::time::sleep(SHORT / 10).await;
        fetcher.stop();
    });
    assert!(matches!(outcome.unwrap_err(), FetchError::Unmounting));
}
