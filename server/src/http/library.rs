//! The user's library: changes to it, and the change feed.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use heirloom_protocol::message::{
    LibraryBatch, LibraryFeed, LibraryOutcome, LibraryOutcomes, Scope,
};
use heirloom_protocol::{ErrorCode, LibraryPath, route};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::caller::{CanAdd, CanRead};
use super::extract::{JsonBody, JsonMessage};
use super::{ChangeNotifier, ErrorResponse};
use crate::accounts::Caller;
use crate::index::{Index, IndexError};

/// `POST /v1/library/changes`
pub(super) async fn change(
    State(index): State<Index>,
    State(notifier): State<ChangeNotifier>,
    CanAdd(caller): CanAdd,
    JsonBody(batch): JsonBody<LibraryBatch>,
) -> Result<Json<LibraryOutcomes>, ErrorResponse> {
    let outcomes = match caller.scope {
        Scope::Full => index.change_library(caller.user, batch.changes).await?,
        Scope::AppendOnly => index.add_to_library(caller.user, batch.changes).await?,
        Scope::ReadOnly => return Err(ErrorCode::ScopeTooNarrow.into()),
    };
    if outcomes
        .iter()
        .any(|outcome| matches!(outcome, LibraryOutcome::Applied { .. }))
    {
        notifier.notify(caller.user);
    }
    Ok(Json(LibraryOutcomes { outcomes }))
}

/// The query of the change feed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedQuery {
    /// The last version the client knows.
    #[serde(default)]
    since: u64,
    /// Seconds to wait for a change if there is none yet.
    #[serde(default)]
    wait: u64,
}

/// `GET /v1/library/changes`
pub(super) async fn feed(
    State(index): State<Index>,
    State(notifier): State<ChangeNotifier>,
    State(stopping): State<CancellationToken>,
    CanRead(caller): CanRead,
    query: Result<Query<FeedQuery>, QueryRejection>,
) -> Result<Json<LibraryFeed>, ErrorResponse> {
    let Query(query) = query
        .map_err(|error| ErrorResponse::new(ErrorCode::MalformedRequest, error.body_text()))?;
    // Subscribe before reading, so that a change in between wakes us.
    let subscription = notifier.subscribe(caller.user);
    let feed = read_feed(&index, &caller, query.since).await?;
    if !feed.entries.is_empty() || query.wait == 0 {
        return Ok(Json(feed));
    }
    let wait = Duration::from_secs(query.wait.min(route::FEED_WAIT_S_MAX));
    let woken = async {
        tokio::select! {
            () = subscription.changed() => {}
            () = stopping.cancelled() => {}
        }
    };
    // Read again even after the full wait: another process may have changed the library.
    let _in_time = timeout(wait, woken).await.is_ok();
    Ok(Json(read_feed(&index, &caller, query.since).await?))
}

/// The changes since a version, and the number of wanted images.
async fn read_feed(index: &Index, caller: &Caller, since: u64) -> Result<LibraryFeed, IndexError> {
    let feed = index
        .library_changes(caller.user, since, route::FEED_ENTRIES_MAX)
        .await?;
    Ok(LibraryFeed {
        wanted: index.corrupt_count_of(caller.user).await?,
        ..feed
    })
}

impl JsonMessage for LibraryBatch {
    /// A thousand moves between paths of the greatest length.
    const BYTES_MAX: usize = 10 << 20;

    fn error_code(body: &[u8]) -> ErrorCode {
        /// The part of a change that shows whether its paths are malformed.
        #[derive(Deserialize)]
        struct RawChange {
            path: Option<String>,
            from: Option<String>,
            to: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct RawBatch {
            changes: Vec<RawChange>,
        }
        let batch: RawBatch = serde_json::from_slice(body).unwrap_or_default();
        let mut paths = batch
            .changes
            .into_iter()
            .flat_map(|change| [change.path, change.from, change.to])
            .flatten();
        if paths.any(|path| LibraryPath::new(path).is_err()) {
            ErrorCode::MalformedPath
        } else {
            ErrorCode::MalformedBody
        }
    }

    fn is_over_limit(&self) -> bool {
        self.changes.len() > route::LIBRARY_CHANGES_MAX
    }
}
