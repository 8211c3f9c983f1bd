//! Login and logout: a password is exchanged for a token, and a token is revoked.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::{LoginAnswer, LoginRequest};

use super::caller::CanRead;
use super::extract::{JsonBody, JsonMessage};
use super::{AuthLimits, ErrorResponse, PeerAddress};
use crate::accounts::Accounts;

/// `POST /v1/login`: the only route for users that needs no token.
pub(super) async fn log_in(
    State(accounts): State<Accounts>,
    State(limits): State<AuthLimits>,
    Extension(peer): Extension<PeerAddress>,
    JsonBody(login): JsonBody<LoginRequest>,
) -> Result<Json<LoginAnswer>, ErrorResponse> {
    let attempt = limits.login(peer, &login.user)?;
    let token = accounts
        .log_in(&login.user, login.password, &login.device)
        .await;
    if !matches!(token, Ok(None)) {
        attempt.reset();
    }
    token?
        .map(|token| Json(LoginAnswer { token }))
        .ok_or_else(|| ErrorCode::LoginRefused.into())
}

/// `DELETE /v1/session`: revokes the token of the request.
pub(super) async fn log_out(
    State(accounts): State<Accounts>,
    CanRead(caller): CanRead,
) -> Result<StatusCode, ErrorResponse> {
    accounts.log_out(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl JsonMessage for LoginRequest {
    /// The longest name, password and device, each character escaped.
    const BYTES_MAX: usize = 16 << 10;

    fn error_code(_: &[u8]) -> ErrorCode {
        ErrorCode::MalformedBody
    }

    fn is_over_limit(&self) -> bool {
        false
    }
}
