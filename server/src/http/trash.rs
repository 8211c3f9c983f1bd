//! The trash: what was removed from a library or replaced in it. Restoring is an ordinary change of
//! the library; purging goes by time, or by the administrator's own command, and never by a
//! request.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use heirloom_protocol::message::TrashPage;
use heirloom_protocol::{ErrorCode, route};
use serde::Deserialize;

use super::Refusal;
use super::caller::Asking;
use crate::index::Index;

/// How long the trash keeps a photo.
#[derive(Clone, Copy, Debug)]
pub struct TrashExpiry(pub Duration);

/// What part of the trash is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// The version that the asker has come to.
    #[serde(default)]
    after: u64,
}

/// `GET /v1/library/trash`
pub(super) async fn list(
    State(index): State<Index>,
    State(expiry): State<TrashExpiry>,
    Asking(caller): Asking,
    query: Result<Query<After>, QueryRejection>,
) -> Result<Json<TrashPage>, Refusal> {
    let Query(asked) =
        query.map_err(|error| Refusal::because(ErrorCode::MalformedRequest, error.body_text()))?;
    let trash = index
        .trash(caller.user, asked.after, route::TRASH_ENTRIES_MAX)
        .await?;
    let next = trash
        .photos
        .last()
        .map_or(asked.after, |photo| photo.version);
    Ok(Json(TrashPage {
        entries: trash.photos,
        next,
        more: trash.more,
        kept_for_s: expiry.0.as_secs(),
    }))
}
