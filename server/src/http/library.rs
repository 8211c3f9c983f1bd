//! The user's library: changes in, the change feed out (M11).

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

use super::caller::{Adding, Asking};
use super::extract::{Message, Said};
use super::{News, Refusal};
use crate::accounts::Caller;
use crate::index::{Index, IndexError};

/// `POST /v1/library/changes`
pub(super) async fn change(
    State(index): State<Index>,
    State(news): State<News>,
    Adding(caller): Adding,
    Said(batch): Said<LibraryBatch>,
) -> Result<Json<LibraryOutcomes>, Refusal> {
    let outcomes = match caller.scope {
        Scope::Full => index.change_library(caller.user, batch.changes).await?,
        Scope::AppendOnly => index.add_to_library(caller.user, batch.changes).await?,
        Scope::ReadOnly => return Err(ErrorCode::ScopeTooNarrow.into()),
    };
    if outcomes
        .iter()
        .any(|outcome| matches!(outcome, LibraryOutcome::Applied { .. }))
    {
        news.tell(caller.user);
    }
    Ok(Json(LibraryOutcomes { outcomes }))
}

/// What the feed is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// The version that the asker knows.
    #[serde(default)]
    since: u64,
    /// Seconds to wait for news, if there are none.
    #[serde(default)]
    wait: u64,
}

/// `GET /v1/library/changes`
pub(super) async fn feed(
    State(index): State<Index>,
    State(news): State<News>,
    State(stopping): State<CancellationToken>,
    Asking(caller): Asking,
    query: Result<Query<Since>, QueryRejection>,
) -> Result<Json<LibraryFeed>, Refusal> {
    let Query(asked) =
        query.map_err(|error| Refusal::because(ErrorCode::MalformedRequest, error.body_text()))?;
    // We listen before we look, so that a change in between wakes us.
    let heard = news.listen(caller.user);
    let feed = look(&index, &caller, asked.since).await?;
    if !feed.entries.is_empty() || asked.wait == 0 {
        return Ok(Json(feed));
    }
    let wait = Duration::from_secs(asked.wait.min(route::FEED_WAIT_S_MAX));
    let woken = async {
        tokio::select! {
            () = heard.news() => {}
            () = stopping.cancelled() => {}
        }
    };
    // After a wait without news we look again all the same: another server process may have made
    // some.
    let _in_time = timeout(wait, woken).await.is_ok();
    Ok(Json(look(&index, &caller, asked.since).await?))
}

/// What changed, and how many images are asked for again.
async fn look(index: &Index, caller: &Caller, since: u64) -> Result<LibraryFeed, IndexError> {
    let feed = index
        .library_changes(caller.user, since, route::FEED_ENTRIES_MAX)
        .await?;
    Ok(LibraryFeed {
        wanted: index.corrupt_count_of(caller.user).await?,
        ..feed
    })
}

impl Message for LibraryBatch {
    /// A thousand moves between paths of the greatest length.
    const BYTES_MAX: usize = 10 << 20;

    fn wrong_in(body: &[u8]) -> ErrorCode {
        /// As much of it as shows whether only a path is wrong.
        #[derive(Deserialize)]
        struct Named {
            path: Option<String>,
            from: Option<String>,
            to: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct Batch {
            changes: Vec<Named>,
        }
        let batch: Batch = serde_json::from_slice(body).unwrap_or_default();
        let mut paths = batch
            .changes
            .into_iter()
            .flat_map(|named| [named.path, named.from, named.to])
            .flatten();
        if paths.any(|path| LibraryPath::new(path).is_err()) {
            ErrorCode::MalformedPath
        } else {
            ErrorCode::MalformedBody
        }
    }

    fn exceeds_its_limit(&self) -> bool {
        self.changes.len() > route::LIBRARY_CHANGES_MAX
    }
}
