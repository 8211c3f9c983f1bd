//! Logging in (a password for a token) and logging out (the token is revoked).

use std::path::Path;

use heirloom_protocol::message::{LoginAnswer, LoginRequest};
use heirloom_protocol::route;
use hyper::{Method, StatusCode};

use super::api_client::ApiClient;
use super::api_request::ApiRequest;
use super::{Remote, RemoteError};
use crate::config::{ServerUrl, Token};

/// Requests a token from a server. The error is a refusal with the code `LoginRefused` if there is
/// no such user or the password is wrong.
pub async fn log_in(
    server: &ServerUrl,
    ca_file: Option<&Path>,
    request: &LoginRequest,
) -> Result<Token, RemoteError> {
    const DOING: &str = "log in";
    let answer: LoginAnswer = ApiClient::anonymous(server, ca_file)?
        .json(ApiRequest::json(
            DOING,
            Method::POST,
            route::LOGIN,
            request,
        )?)
        .await?;
    let malformed = |_| RemoteError::Malformed {
        doing: DOING,
        why: "there is no valid token in the response".to_owned(),
    };
    answer.token.parse().map_err(malformed)
}

impl Remote {
    /// Revokes our token. Succeeds as well if the token was not valid any more.
    pub async fn log_out(&self) -> Result<(), RemoteError> {
        const DOING: &str = "log out";
        let response = self
            .client
            .bytes(ApiRequest::delete(DOING, route::SESSION), &|| {})
            .await?;
        match response.status {
            StatusCode::NO_CONTENT | StatusCode::UNAUTHORIZED => Ok(()),
            _ => Err(response.refusal(DOING)),
        }
    }
}
