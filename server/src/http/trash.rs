//! The trash: photos that were removed from a library or replaced in it. Restoring one is an
//! ordinary change of the library. Photos leave the trash when their time is up or by the
//! administrator's command, and never by a request.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use heirloom_protocol::message::TrashPage;
use heirloom_protocol::{ErrorCode, route};
use serde::Deserialize;

use super::ErrorResponse;
use super::caller::CanRead;
use crate::index::Index;

/// How long the trash keeps a photo.
#[derive(Clone, Copy, Debug)]
pub struct TrashRetention(pub Duration);

/// The query of the trash route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrashQuery {
    /// The last version the client has seen.
    #[serde(default)]
    after: u64,
}

/// `GET /v1/library/trash`
pub(super) async fn list(
    State(index): State<Index>,
    State(expiry): State<TrashRetention>,
    CanRead(caller): CanRead,
    query: Result<Query<TrashQuery>, QueryRejection>,
) -> Result<Json<TrashPage>, ErrorResponse> {
    let Query(query) = query
        .map_err(|error| ErrorResponse::new(ErrorCode::MalformedRequest, error.body_text()))?;
    let trash = index
        .trash(caller.user, query.after, route::TRASH_ENTRIES_MAX)
        .await?;
    let next = trash
        .photos
        .last()
        .map_or(query.after, |photo| photo.version);
    Ok(Json(TrashPage {
        entries: trash.photos,
        next,
        more: trash.more,
        kept_for_s: expiry.0.as_secs(),
    }))
}
