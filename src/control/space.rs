//! `POST /free`, `/pin` and `/unpin`: which files have their bytes on this disk.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use heirloom_protocol::LibraryPath;
use heirloom_support::error_chain::display_chain;

use super::context::ControlState;
use super::error::RequestError;
use super::message::{FailingFile, FreeRequest, FreeResponse, PinRequest};
use crate::background::run_blocking;
use crate::fetch::{EvictOutcome, EvictSelection, KeepReason};
use crate::journal::{Amount, FileId};
use crate::spool::Timespec;

/// Files that could not be freed, of those that one response lists with the reason.
const KEPT_MAX: usize = 100;

pub(super) async fn free(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<FreeRequest>,
) -> Result<Json<FreeResponse>, RequestError> {
    // The sync list belongs to one server: check that this is still the one before using it.
    context.library.session().await?;
    let selection = EvictSelection {
        paths: request.paths,
        unused_since: request.unused_for_s.map(seconds_ago),
    };
    let freed = context
        .fetcher
        .evict(selection, request.after.map(FileId))
        .await?;
    Ok(Json(response(freed)))
}

pub(super) async fn pin(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<PinRequest>,
) -> Result<Json<()>, RequestError> {
    run_blocking(move || context.fetcher.pin(&request.path)).await?;
    Ok(Json(()))
}

pub(super) async fn unpin(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<PinRequest>,
) -> Result<Json<()>, RequestError> {
    run_blocking(move || context.spool.clear_pin(&request.path)).await?;
    Ok(Json(()))
}

fn response(freed: EvictOutcome) -> FreeResponse {
    // A file that was free already is what the person asked for.
    let kept: Vec<_> = freed
        .kept
        .into_iter()
        .filter(|(_, why)| !matches!(why, KeepReason::AlreadyEvicted))
        .collect();
    FreeResponse {
        freed: Amount {
            files: freed.files,
            bytes: freed.bytes,
        },
        kept_files: kept.len() as u64,
        kept: kept.into_iter().take(KEPT_MAX).map(kept_file).collect(),
        next: freed.next.map(|id| id.0),
    }
}

fn kept_file((path, why): (LibraryPath, KeepReason)) -> FailingFile {
    FailingFile {
        path,
        why: display_chain(&why),
    }
}

fn seconds_ago(seconds: u64) -> Timespec {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    Timespec {
        seconds: i64::try_from(now.saturating_sub(seconds)).unwrap_or(i64::MAX),
        nanoseconds: 0,
    }
}
