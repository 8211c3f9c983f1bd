//! Rate limits: a client over a limit learns how long to wait.

use std::time::Duration;

use heirloom_protocol::message::{CheckImage, LoginRequest};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;

use crate::support::{Response, TestServer, photo};

async fn log_in(server: &TestServer, user: &str, password: &str) -> Response {
    let (user, password) = (user.to_owned(), password.to_owned());
    server
        .anonymous()
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

fn retry_after_s(response: &Response) -> u64 {
    assert_eq!(
        (response.status, response.code()),
        (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests)
    );
    response.headers[RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn password_guessing_is_limited_and_reveals_nothing() {
    let server = TestServer::start_with(
        tempfile::tempdir().unwrap(),
        heirloom_server::clock::Clock::default(),
        |config| {
            config.rates.failed_logins_per_minute = 3;
        },
    )
    .await;
    let (accounts, index) = server.accounts().await;
    accounts.add_user("anna").await.unwrap();
    accounts
        .set_password("anna", "correct horse".to_owned())
        .await
        .unwrap();
    index.close().await;
    for _ in 0..5 {
        assert_eq!(
            log_in(&server, "anna", "correct horse").await.status,
            StatusCode::OK,
            "a correct password does not count"
        );
    }
    for user in ["anna", "nobody"] {
        for _ in 0..3 {
            assert_eq!(
                log_in(&server, user, "wrong horse").await.code(),
                ErrorCode::LoginRefused
            );
        }
        let wait_s = retry_after_s(&log_in(&server, user, "wrong horse").await);
        assert!((1..=21).contains(&wait_s), "{wait_s}");
    }
    // Not even the correct password is checked then; otherwise there would be no limit.
    retry_after_s(&log_in(&server, "anna", "correct horse").await);
    assert_eq!(
        log_in(&server, "ben", "wrong horse").await.code(),
        ErrorCode::LoginRefused
    );
    server.close().await;
}

#[tokio::test]
async fn a_device_that_checks_too_often_is_limited_and_others_are_not() {
    let server = TestServer::start_with(
        tempfile::tempdir().unwrap(),
        heirloom_server::clock::Clock::default(),
        |config| {
            config.rates.checks_per_second = 2;
        },
    )
    .await;
    let (phone, laptop) = (server.client("anna").await, server.client("anna").await);
    let image = CheckImage {
        fingerprint: Fingerprint::of(&photo(1, 10)),
        size: 10,
        proof: None,
    };
    let mut limited = None;
    for _ in 0..1000 {
        let response = phone.check_raw(std::slice::from_ref(&image)).await;
        if response.status != StatusCode::OK {
            limited = Some(response);
            break;
        }
    }
    let wait_s = retry_after_s(&limited.expect("it sent more than two checks per second"));
    assert_eq!(
        laptop.check_raw(std::slice::from_ref(&image)).await.status,
        StatusCode::OK
    );
    phone.session().await;
    tokio::time::sleep(Duration::from_secs(wait_s)).await;
    assert_eq!(
        phone.check_raw(&[image]).await.status,
        StatusCode::OK,
        "after the time in Retry-After"
    );
    server.close().await;
}
