//! The error response of a request handler.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heirloom_support::error_chain::display_chain;

/// Why a request could not be carried out: sent as status 409 with the message and its causes as
/// plain text.
#[derive(Debug)]
pub(super) struct RequestError {
    message: String,
}

impl<E: std::error::Error> From<E> for RequestError {
    fn from(error: E) -> Self {
        Self {
            message: display_chain(&error),
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        (StatusCode::CONFLICT, self.message).into_response()
    }
}
