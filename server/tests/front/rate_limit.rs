//! Rates from outside: whoever guesses or asks too often is told to wait, and for how long.

use std::time::Duration;

use heirloom_protocol::message::{CheckImage, LoginRequest};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;

use crate::support::{Answer, House, photo};

async fn log_in(house: &House, user: &str, password: &str) -> Answer {
    let (user, password) = (user.to_owned(), password.to_owned());
    house
        .stranger()
        .post(
            route::LOGIN,
            &LoginRequest {
                user,
                password,
                device: "laptop".to_owned(),
            },
        )
        .await
}

fn asked_to_wait_s(answer: &Answer) -> u64 {
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests)
    );
    answer.headers[RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn whoever_guesses_passwords_is_stopped_and_learns_nothing_by_it() {
    let house = House::open_with(
        tempfile::tempdir().unwrap(),
        heirloom_server::clock::Clock::default(),
        |config| {
            config.rates.failed_logins_per_minute = 3;
        },
    )
    .await;
    let (accounts, index) = house.accounts().await;
    accounts.add_user("anna").await.unwrap();
    accounts
        .set_password("anna", "correct horse".to_owned())
        .await
        .unwrap();
    index.close().await;
    for _ in 0..5 {
        assert_eq!(
            log_in(&house, "anna", "correct horse").await.status,
            StatusCode::OK,
            "a right one does not count"
        );
    }
    for user in ["anna", "nobody"] {
        for _ in 0..3 {
            assert_eq!(
                log_in(&house, user, "wrong horse").await.code(),
                ErrorCode::LoginRefused
            );
        }
        let wait_s = asked_to_wait_s(&log_in(&house, user, "wrong horse").await);
        assert!((1..=21).contains(&wait_s), "{wait_s}");
    }
    // Not even the right one is looked at then: else the limit would be none.
    asked_to_wait_s(&log_in(&house, "anna", "correct horse").await);
    assert_eq!(
        log_in(&house, "ben", "wrong horse").await.code(),
        ErrorCode::LoginRefused
    );
    house.close().await;
}

#[tokio::test]
async fn a_device_that_checks_too_often_waits_and_the_others_do_not() {
    let house = House::open_with(
        tempfile::tempdir().unwrap(),
        heirloom_server::clock::Clock::default(),
        |config| {
            config.rates.checks_per_second = 2;
        },
    )
    .await;
    let (phone, laptop) = (house.guest("anna").await, house.guest("anna").await);
    let image = CheckImage {
        fingerprint: Fingerprint::of(&photo(1, 10)),
        size: 10,
        proof: None,
    };
    let mut limited = None;
    for _ in 0..1000 {
        let answer = phone.check_raw(std::slice::from_ref(&image)).await;
        if answer.status != StatusCode::OK {
            limited = Some(answer);
            break;
        }
    }
    let wait_s = asked_to_wait_s(&limited.expect("it asked faster than twice a second"));
    assert_eq!(
        laptop.check_raw(std::slice::from_ref(&image)).await.status,
        StatusCode::OK
    );
    phone.session().await;
    tokio::time::sleep(Duration::from_secs(wait_s)).await;
    assert_eq!(
        phone.check_raw(&[image]).await.status,
        StatusCode::OK,
        "after what it was told"
    );
    house.close().await;
}
