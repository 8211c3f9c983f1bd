//! Logging in: a password for a token; logging out gives the token back.

use std::path::Path;

use heirloom_protocol::message::{LoginAnswer, LoginRequest};
use heirloom_protocol::route;
use hyper::{Method, StatusCode};

use super::api_client::{ApiClient, ApiRequest};
use super::{Remote, RemoteError};
use crate::config::{ServerUrl, Token};

/// Asks a server for a token. `LoginRefused` if there is no such user or the password is another.
pub async fn log_in(
    server: &ServerUrl,
    ca_file: Option<&Path>,
    request: &LoginRequest,
) -> Result<Token, RemoteError> {
    const DOING: &str = "log in";
    let answer: LoginAnswer = ApiClient::nameless(server, ca_file)?
        .json(ApiRequest::json(
            DOING,
            Method::POST,
            route::LOGIN,
            request,
        )?)
        .await?;
    let malformed = |_| RemoteError::Malformed {
        doing: DOING,
        why: "it holds no token".to_owned(),
    };
    answer.token.parse().map_err(malformed)
}

impl Remote {
    /// Gives our token back: from now on it is good for nothing. Fine if it was already.
    pub async fn log_out(&self) -> Result<(), RemoteError> {
        const DOING: &str = "log out";
        let answer = self
            .client
            .bytes(ApiRequest::delete(DOING, route::SESSION), &|| {})
            .await?;
        match answer.status {
            StatusCode::NO_CONTENT | StatusCode::UNAUTHORIZED => Ok(()),
            _ => Err(answer.refusal(DOING)),
        }
    }
}
