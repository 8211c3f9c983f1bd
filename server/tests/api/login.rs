//! Login: exchanges a password for a token and reveals nothing else.

use heirloom_protocol::message::{LoginAnswer, LoginRequest};
use heirloom_protocol::{ErrorCode, route};
use heirloom_server::index::UserState;
use hyper::header::{DATE, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::support::{Client, Response, TestServer};

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

async fn server_with_anna() -> TestServer {
    let server = TestServer::start().await;
    let (accounts, index) = server.accounts().await;
    for user in ["anna", "ben", "carl"] {
        accounts.add_user(user).await.unwrap();
    }
    accounts
        .set_password("anna", "correct horse".to_owned())
        .await
        .unwrap();
    accounts
        .set_password("carl", "correct horse".to_owned())
        .await
        .unwrap();
    accounts
        .set_user_state("carl", UserState::Disabled)
        .await
        .unwrap();
    index.close().await;
    server
}

#[tokio::test]
async fn each_login_gets_a_token_of_its_own() {
    let server = server_with_anna().await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let token = log_in(&server, "anna", "correct horse")
            .await
            .json::<LoginAnswer>()
            .token;
        let anna = Client {
            token: Some(token.clone()),
            ..server.anonymous()
        };
        assert_eq!(anna.session().await.name, "anna");
        tokens.push(token);
    }
    assert_ne!(tokens[0], tokens[1]);
    let (accounts, index) = server.accounts().await;
    let devices = accounts.devices("anna").await.unwrap();
    let laptops = devices
        .iter()
        .filter(|device| device.name.starts_with("laptop"))
        .count();
    assert_eq!(laptops, 2, "{devices:?}");
    index.close().await;
    server.close().await;
}

#[tokio::test]
async fn a_failed_login_does_not_reveal_who_has_an_account() {
    let server = server_with_anna().await;
    let mut expected = log_in(&server, "anna", "wrong password").await;
    assert_eq!(expected.code(), ErrorCode::LoginRefused);
    assert!(
        expected.headers[WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .starts_with("Bearer")
    );
    expected.headers.remove(DATE);
    let long = "x".repeat(2000);
    for (who, user, password) in [
        ("nobody", "dora", "correct horse"),
        ("without a password", "ben", "correct horse"),
        ("disabled", "carl", "correct horse"),
        ("too long", "anna", long.as_str()),
        ("no name at all", "", ""),
    ] {
        let mut response = log_in(&server, user, password).await;
        response.headers.remove(DATE);
        assert_eq!(
            (response.status, response.headers, response.body),
            (
                expected.status,
                expected.headers.clone(),
                expected.body.clone()
            ),
            "{who}"
        );
    }
    server.close().await;
}

#[tokio::test]
async fn a_token_is_invalid_right_after_logout() {
    let server = server_with_anna().await;
    let (anna, other) = (server.client("anna").await, server.client("anna").await);
    anna.session().await;
    assert_eq!(
        anna.ask(Method::DELETE, route::SESSION).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        anna.get(route::SESSION).await.code(),
        ErrorCode::LoginNeeded
    );
    other.session().await;
    server.close().await;
}

#[tokio::test]
async fn an_invalid_login_is_rejected_with_its_code() {
    let server = TestServer::start().await;
    for (why, body, code) in [
        ("no JSON", "anna".to_owned(), ErrorCode::MalformedBody),
        (
            "no password",
            json!({ "user": "anna", "device": "a" }).to_string(),
            ErrorCode::MalformedBody,
        ),
        (
            "a scope",
            json!({ "user": "a", "password": "b", "device": "c", "scope": "full" }).to_string(),
            ErrorCode::MalformedBody,
        ),
        (
            "no device",
            json!({ "user": "a", "password": "b", "device": "" }).to_string(),
            ErrorCode::MalformedBody,
        ),
        (
            "odd device",
            json!({ "user": "a", "password": "b", "device": "a\nb" }).to_string(),
            ErrorCode::MalformedBody,
        ),
        ("too much", " ".repeat(17 << 10), ErrorCode::BodyTooLarge),
    ] {
        assert_eq!(
            server
                .anonymous()
                .post_text(route::LOGIN, body)
                .await
                .code(),
            code,
            "{why}"
        );
    }
    assert_eq!(
        server.anonymous().get(route::LOGIN).await.code(),
        ErrorCode::MethodNotAllowed
    );
    server.close().await;
}
