//! Instant upload: a client that has the bytes gets the image, and all others learn nothing.

use std::time::Duration;

use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::{CheckImage, CheckedImage, CrossUser, Session};
use heirloom_protocol::possession::{NONCE_SECONDS, Proof, SIZE_MIN};
use heirloom_server::clock::Clock;
use heirloom_server::possession::PROOF_FAILURES_PER_DAY;

use crate::support::{Client, TestServer, photo, prove, unsigned};

const HOUR: Duration = Duration::from_secs(NONCE_SECONDS);
const DAY: Duration = Duration::from_hours(24);

/// A server whose clock starts at noon, so that no hour and no day ends during a test.
async fn server_at_noon() -> TestServer {
    let server = TestServer::start().await;
    let day_ms = i64::try_from(DAY.as_millis()).unwrap();
    let since_midnight =
        Duration::from_millis(server.clock.now_ms().rem_euclid(day_ms).unsigned_abs());
    server
        .clock
        .advance((DAY + DAY / 2).saturating_sub(since_midnight));
    server
}

fn asked(photo: &[u8], proof: Option<Proof>) -> CheckImage {
    CheckImage {
        fingerprint: Fingerprint::of(photo),
        size: photo.len() as u64,
        proof,
    }
}

async fn instant(client: &Client, session: &Session, photo: &[u8]) -> CheckedImage {
    let image = asked(photo, Some(prove(session, session.user, photo)));
    client
        .check_raw(&[image])
        .await
        .json::<Vec<CheckedImage>>()
        .remove(0)
}

/// Asserts that the response for `image` is the same as for an image that nobody ever sent.
async fn assert_unknown(client: &Client, image: CheckImage, why: &str) {
    let response = client.check_raw(std::slice::from_ref(&image)).await;
    let unknown = photo(u64::MAX, 100_000);
    let mut expected = client.check_raw(&[asked(&unknown, image.proof)]).await;
    let body = String::from_utf8(expected.body.to_vec()).unwrap();
    expected.body = body
        .replace(
            &Fingerprint::of(&unknown).to_string(),
            &image.fingerprint.to_string(),
        )
        .into();
    expected.headers.remove("date");
    let mut headers = response.headers.clone();
    headers.remove("date");
    assert_eq!(
        (response.status, headers, response.body),
        (expected.status, expected.headers, expected.body),
        "{why}"
    );
}

#[tokio::test]
async fn a_client_that_has_the_bytes_gets_the_image_at_once() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(1, 100_000);
    anna.store(&photo).await;
    let session = ben.session().await;
    let linked = instant(&ben, &session, &photo).await;
    let CheckedImage::Linked { receipt } = linked else {
        panic!("{linked:?}")
    };
    assert_eq!(receipt.size, 100_000);
    assert!(ben.has(&photo).await);
    assert_eq!(
        instant(&ben, &session, &photo).await,
        CheckedImage::Owned {
            receipt: unsigned(receipt)
        }
    );
    server.close().await;
}

#[tokio::test]
async fn a_nonce_is_valid_for_its_hour_and_the_next() {
    let server = server_at_noon().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let (first, second) = (photo(1, 100_000), photo(2, 100_000));
    anna.store(&first).await;
    anna.store(&second).await;
    let session = ben.session().await;
    assert!((1..=NONCE_SECONDS).contains(&session.nonce_renewal_s));
    server.clock.advance(HOUR);
    assert!(matches!(
        instant(&ben, &session, &first).await,
        CheckedImage::Linked { .. }
    ));
    server.clock.advance(HOUR);
    assert!(matches!(
        instant(&ben, &session, &second).await,
        CheckedImage::Absent { .. }
    ));
    server.close().await;
}

#[tokio::test]
async fn a_fingerprint_alone_gives_no_access() {
    let server = server_at_noon().await;
    let (anna, ben, carl) = (
        server.client("anna").await,
        server.client("ben").await,
        server.client("carl").await,
    );
    let bens_other_device = server.client("ben").await;
    let photo = photo(1, 100_000);
    let fingerprint = Fingerprint::of(&photo);
    anna.store(&photo).await;
    let (bens, carls) = (ben.session().await, carl.session().await);

    assert_unknown(&ben, asked(&photo, None), "without a proof").await;
    for (size, off) in [(99_999, "one less"), (100_001, "one more")] {
        let image = CheckImage {
            size,
            ..asked(&photo, Some(prove(&bens, bens.user, &photo)))
        };
        assert_unknown(&ben, image, off).await;
    }
    assert_unknown(
        &ben,
        asked(&photo, Some(prove(&carls, carls.user, &photo))),
        "another user's proof",
    )
    .await;
    let device = bens_other_device.session().await;
    assert_unknown(
        &ben,
        asked(&photo, Some(prove(&device, bens.user, &photo))),
        "another device's proof",
    )
    .await;
    server.clock.advance(2 * HOUR);
    assert_unknown(
        &ben,
        asked(&photo, Some(prove(&bens, bens.user, &photo))),
        "an expired nonce",
    )
    .await;

    // After three failures, not even a valid proof is checked on the same day.
    let bens = ben.session().await;
    assert_unknown(
        &ben,
        asked(&photo, Some(prove(&bens, bens.user, &photo))),
        "a valid proof after three failures",
    )
    .await;
    assert!(!ben.has(&photo).await);
    assert_eq!(
        ben.get(&heirloom_protocol::route::upload(fingerprint))
            .await
            .status,
        404
    );
    // Other users are not affected, and neither is Ben the next day.
    assert!(matches!(
        instant(&carl, &carl.session().await, &photo).await,
        CheckedImage::Linked { .. }
    ));
    server.clock.advance(DAY);
    assert!(matches!(
        instant(&ben, &ben.session().await, &photo).await,
        CheckedImage::Linked { .. }
    ));
    server.close().await;
}

#[tokio::test]
async fn concurrent_proof_failures_are_counted_exactly() {
    let server = server_at_noon().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(1, 100_000);
    anna.store(&photo).await;
    let wrong = asked(&photo, Some(Proof::from([7; 32])));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (ben, wrong) = (ben.clone(), wrong.clone());
        asking.spawn(async move { ben.check_raw(&[wrong]).await.json::<Vec<CheckedImage>>() });
    }
    asking.join_all().await;
    let (_, index) = server.accounts().await;
    let user = index.user_named("ben").await.unwrap().unwrap();
    let today = server
        .clock
        .now_ms()
        .div_euclid(i64::try_from(DAY.as_millis()).unwrap());
    assert_eq!(
        index.proof_failures(user, today).await.unwrap(),
        PROOF_FAILURES_PER_DAY
    );
    index.close().await;
    // The failures survive a restart.
    let clock = server.clock.clone();
    let server = TestServer::start_with(server.close().await, clock, |_| {}).await;
    let ben = server.client("ben").await;
    assert!(matches!(
        instant(&ben, &ben.session().await, &photo).await,
        CheckedImage::Absent { .. }
    ));
    server.close().await;
}

/// The metrics, which every token may read, without the number of requests.
async fn numbers(client: &Client) -> Vec<(String, u64)> {
    let text = String::from_utf8(client.get("/metrics").await.body.to_vec()).unwrap();
    let numbers = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap());
    numbers
        .map(|(name, number)| (name.to_owned(), number.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn the_public_metrics_do_not_reveal_who_has_what() {
    let server = server_at_noon().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let (hers, nobodys) = (photo(1, 100_000), photo(2, 100_000));
    anna.store(&hers).await;
    let mut grown = Vec::new();
    for photo in [&hers, &nobodys] {
        let before = numbers(&ben).await;
        ben.check_raw(&[asked(photo, Some(Proof::from([7; 32])))])
            .await;
        let after = numbers(&ben).await;
        let names = before
            .iter()
            .zip(&after)
            .map(|((name, before), (_, after))| (name.clone(), after - before));
        grown.push(names.collect::<Vec<_>>());
    }
    assert_eq!(
        grown[0], grown[1],
        "a wrong proof for an image that another user has, and for one that nobody has"
    );
    assert!(
        grown[0].contains(&("heirloom_proofs_refused_total".to_owned(), 1)),
        "{:?}",
        grown[0]
    );
    server.close().await;
}

#[tokio::test]
async fn small_images_are_uploaded() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let smallest = usize::try_from(SIZE_MIN).unwrap();
    let (small, enough) = (photo(1, smallest - 1), photo(2, smallest));
    anna.store(&small).await;
    anna.store(&enough).await;
    let session = ben.session().await;
    assert!(matches!(
        instant(&ben, &session, &small).await,
        CheckedImage::Absent { .. }
    ));
    assert!(matches!(
        instant(&ben, &session, &enough).await,
        CheckedImage::Linked { .. }
    ));
    server.close().await;
}

#[tokio::test]
async fn with_cross_user_off_even_a_valid_proof_reveals_nothing() {
    let server = TestServer::start_with(tempfile::tempdir().unwrap(), Clock::default(), |config| {
        config.cross_user = CrossUser::Off;
    })
    .await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(1, 100_000);
    anna.store(&photo).await;
    let session = ben.session().await;
    assert_eq!(session.cross_user, CrossUser::Off);
    assert_unknown(
        &ben,
        asked(&photo, Some(prove(&session, session.user, &photo))),
        "policy",
    )
    .await;
    // A full upload still shares the storage.
    ben.store(&photo).await;
    assert!(ben.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn a_damaged_image_is_quarantined_and_healed_by_the_next_upload() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(1, 100_000);
    let fingerprint = Fingerprint::of(&photo);
    anna.store(&photo).await;
    let name = fingerprint.to_string();
    let file = server
        .data
        .path()
        .join("images")
        .join(&name[..2])
        .join(&name);
    let mut rotten = photo.clone();
    rotten[50_000] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &rotten).unwrap();

    let session = ben.session().await;
    assert_eq!(
        instant(&ben, &session, &photo).await,
        CheckedImage::Absent { fingerprint }
    );
    assert!(server.data.path().join("quarantine").join(&name).exists());
    // The image is reported to nobody, not even to the user who uploaded it.
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Absent { fingerprint }
    );
    ben.store(&photo).await;
    assert!(ben.has(&photo).await);
    assert!(
        matches!(anna.check(&photo).await, CheckedImage::Owned { .. }),
        "repaired for everybody"
    );
    assert!(anna.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn a_missing_image_is_requested_again() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(1, 100_000);
    let fingerprint = Fingerprint::of(&photo);
    anna.store(&photo).await;
    let name = fingerprint.to_string();
    std::fs::remove_file(
        server
            .data
            .path()
            .join("images")
            .join(&name[..2])
            .join(&name),
    )
    .unwrap();
    assert!(!anna.has(&photo).await);
    assert_eq!(
        anna.check(&photo).await,
        CheckedImage::Absent { fingerprint }
    );
    anna.store(&photo).await;
    assert!(anna.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn the_only_user_of_a_server_needs_no_proofs() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    assert_eq!(anna.session().await.cross_user, CrossUser::Off);
    let ben = server.client("ben").await;
    assert_eq!(anna.session().await.cross_user, CrossUser::Proof);
    assert_eq!(ben.session().await.cross_user, CrossUser::Proof);
    server.close().await;
}
