//! Retrying: failed files, taken in once more as asked for from outside.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::message::{FailingFile, RetryRequest, RetryResponse};
use super::server::ControlState;
use super::space::{Refused, refused};
use crate::background::run_blocking;
use heirloom_support::error_chain::display_chain;

/// Files that could not be tried again, of those that one answer lists with the reason.
const REFUSED_MAX: usize = 100;

pub(super) async fn retry(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<RetryRequest>,
) -> Result<Json<RetryResponse>, Refused> {
    let intake = context.intake.clone();
    let retried = run_blocking(move || intake.retry(&request.paths))
        .await
        .map_err(|error| refused(&error))?;
    let told = retried.refused.into_iter().take(REFUSED_MAX);
    let refused = told
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
