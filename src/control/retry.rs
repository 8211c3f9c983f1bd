//! `POST /retry`: queues failed files again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heirloom_support::error_chain::display_chain;

use super::context::ControlState;
use super::error::RequestError;
use super::message::{FailingFile, RetryRequest, RetryResponse};
use crate::background::run_blocking;

/// Files that could not be retried, of those that one response lists with the reason.
const REFUSED_MAX: usize = 100;

pub(super) async fn retry(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<RetryRequest>,
) -> Result<Json<RetryResponse>, RequestError> {
    let intake = context.intake.clone();
    let retried = run_blocking(move || intake.retry(&request.paths)).await?;
    let refused = retried
        .refused
        .into_iter()
        .take(REFUSED_MAX)
        .map(|(path, error)| FailingFile {
            path,
            why: display_chain(&error),
        })
        .collect();
    Ok(Json(RetryResponse {
        again: retried.again,
        refused,
    }))
}
