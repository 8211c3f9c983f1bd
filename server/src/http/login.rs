//! A password for a token, and the token given back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::{LoginAnswer, LoginRequest};

use super::caller::Asking;
use super::extract::{Message, Said};
use super::{Peer, Refusal, Restraint};
use crate::accounts::Accounts;

/// `POST /v1/login`: the one route for users that wants no token.
pub(super) async fn log_in(
    State(accounts): State<Accounts>,
    State(restraint): State<Restraint>,
    Extension(peer): Extension<Peer>,
    Said(login): Said<LoginRequest>,
) -> Result<Json<LoginAnswer>, Refusal> {
    let attempt = restraint.attempt(peer, &login.user)?;
    let token = accounts
        .log_in(&login.user, login.password, &login.device)
        .await;
    if !matches!(token, Ok(None)) {
        attempt.forgive();
    }
    token?
        .map(|token| Json(LoginAnswer { token }))
        .ok_or_else(|| ErrorCode::LoginRefused.into())
}

/// `DELETE /v1/session`: any token may give itself back.
pub(super) async fn log_out(
    State(accounts): State<Accounts>,
    Asking(caller): Asking,
) -> Result<StatusCode, Refusal> {
    accounts.log_out(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Message for LoginRequest {
    /// The longest name, password and device, each character escaped.
    const BYTES_MAX: usize = 16 << 10;

    fn wrong_in(_: &[u8]) -> ErrorCode {
        ErrorCode::MalformedBody
    }

    fn exceeds_its_limit(&self) -> bool {
        false
    }
}
