//! What the server asks for: images that it found damaged, of those that hold them.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use heirloom_protocol::message::WantedPage;
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use serde::Deserialize;

use super::Refusal;
use super::caller::Asking;
use crate::index::Index;

/// Where to go on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// The last one that the asker has.
    after: Option<Fingerprint>,
}

/// `GET /v1/images/wanted`
pub(super) async fn list(
    State(index): State<Index>,
    Asking(caller): Asking,
    query: Result<Query<After>, QueryRejection>,
) -> Result<Json<WantedPage>, Refusal> {
    let Query(asked) =
        query.map_err(|error| Refusal::because(ErrorCode::MalformedRequest, error.body_text()))?;
    // One more than is shown tells whether there is more.
    let mut fingerprints = index
        .corrupt_images_of(caller.user, asked.after, route::WANTED_MAX + 1)
        .await?;
    let more = fingerprints.len() > route::WANTED_MAX;
    fingerprints.truncate(route::WANTED_MAX);
    Ok(Json(WantedPage { fingerprints, more }))
}
