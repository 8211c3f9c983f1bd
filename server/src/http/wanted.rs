//! Wanted images: the user's images that the server found damaged and wants to be sent again.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use heirloom_protocol::message::WantedPage;
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use serde::Deserialize;

use super::ErrorResponse;
use super::caller::CanRead;
use crate::index::Index;

/// The query of the wanted route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedQuery {
    /// The last image of the previous page.
    after: Option<Fingerprint>,
}

/// `GET /v1/images/wanted`
pub(super) async fn list(
    State(index): State<Index>,
    CanRead(caller): CanRead,
    query: Result<Query<WantedQuery>, QueryRejection>,
) -> Result<Json<WantedPage>, ErrorResponse> {
    let Query(query) = query
        .map_err(|error| ErrorResponse::new(ErrorCode::MalformedRequest, error.body_text()))?;
    // One more than fits on the page shows whether more follow.
    let mut fingerprints = index
        .corrupt_images_of(caller.user, query.after, route::WANTED_MAX + 1)
        .await?;
    let more = fingerprints.len() > route::WANTED_MAX;
    fingerprints.truncate(route::WANTED_MAX);
    Ok(Json(WantedPage { fingerprints, more }))
}
