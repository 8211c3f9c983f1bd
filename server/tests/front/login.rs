//! Logging in: a password for a token, and nothing else learned.

use heirloom_protocol::message::{LoginAnswer, LoginRequest};
use heirloom_protocol::{ErrorCode, route};
use heirloom_server::index::UserState;
use hyper::header::{DATE, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, Guest, House};

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

async fn house_of_anna() -> House {
    let house = House::open().await;
    let (accounts, index) = house.accounts().await;
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
    house
}

#[tokio::test]
async fn whoever_knows_the_password_gets_a_token_of_their_own() {
    let house = house_of_anna().await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let token = log_in(&house, "anna", "correct horse")
            .await
            .json::<LoginAnswer>()
            .token;
        let anna = Guest {
            token: Some(token.clone()),
            ..house.stranger()
        };
        assert_eq!(anna.session().await.name, "anna");
        tokens.push(token);
    }
    assert_ne!(tokens[0], tokens[1]);
    let (accounts, index) = house.accounts().await;
    let devices = accounts.devices("anna").await.unwrap();
    let laptops = devices
        .iter()
        .filter(|device| device.name.starts_with("laptop"))
        .count();
    assert_eq!(laptops, 2, "{devices:?}");
    index.close().await;
    house.close().await;
}

#[tokio::test]
async fn who_fails_to_log_in_does_not_learn_who_is_there() {
    let house = house_of_anna().await;
    let mut expected = log_in(&house, "anna", "wrong password").await;
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
        let mut answer = log_in(&house, user, password).await;
        answer.headers.remove(DATE);
        assert_eq!(
            (answer.status, answer.headers, answer.body),
            (
                expected.status,
                expected.headers.clone(),
                expected.body.clone()
            ),
            "{who}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_token_that_was_given_back_is_nobodys_at_once() {
    let house = house_of_anna().await;
    let (anna, other) = (house.guest("anna").await, house.guest("anna").await);
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
    house.close().await;
}

#[tokio::test]
async fn a_bad_login_is_refused_with_its_code() {
    let house = House::open().await;
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
            house.stranger().post_text(route::LOGIN, body).await.code(),
            code,
            "{why}"
        );
    }
    assert_eq!(
        house.stranger().get(route::LOGIN).await.code(),
        ErrorCode::MethodNotAllowed
    );
    house.close().await;
}
