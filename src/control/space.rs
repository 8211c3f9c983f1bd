//! Room: freeing, pinning and unpinning, as asked for from outside.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heirloom_protocol::LibraryPath;

use super::message::{FailingFile, FreeRequest, FreeResponse, PinRequest};
use super::server::ControlState;
use crate::background::run_blocking;
use crate::fetch::{EvictOutcome, EvictSelection, KeepReason};
use crate::journal::{Amount, FileId};
use crate::spool::Timespec;
use heirloom_support::error_chain::display_chain;

/// Photos that kept their room, of those that one answer lists with the reason.
const KEPT_MAX: usize = 100;

pub(super) async fn free(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<FreeRequest>,
) -> Result<Json<FreeResponse>, Refused> {
    // Who uses the sync list asks first whose it is.
    context
        .library
        .session()
        .await
        .map_err(|error| refused(&error))?;
    let unused_since = request.unused_for_s.map(ago);
    let selection = EvictSelection {
        paths: request.paths,
        unused_since,
    };
    let freed = context
        .fetcher
        .evict(selection, request.after.map(FileId))
        .await
        .map_err(|error| refused(&error))?;
    Ok(Json(answer(freed)))
}

pub(super) async fn pin(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<PinRequest>,
) -> Result<Json<()>, Refused> {
    run_blocking(move || context.fetcher.pin(&request.path))
        .await
        .map(Json)
        .map_err(|error| refused(&error))
}

pub(super) async fn unpin(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<PinRequest>,
) -> Result<Json<()>, Refused> {
    run_blocking(move || context.spool.clear_pin(&request.path))
        .await
        .map(Json)
        .map_err(|error| refused(&error))
}

fn answer(freed: EvictOutcome) -> FreeResponse {
    // What is on the server already is what was asked for.
    let kept: Vec<_> = freed
        .kept
        .into_iter()
        .filter(|(_, kept)| !matches!(kept, KeepReason::AlreadyEvicted))
        .collect();
    FreeResponse {
        freed: Amount {
            files: freed.files,
            bytes: freed.bytes,
        },
        kept_files: kept.len() as u64,
        kept: kept.into_iter().take(KEPT_MAX).map(told).collect(),
        next: freed.next.map(|id| id.0),
    }
}

fn told((path, kept): (LibraryPath, KeepReason)) -> FailingFile {
    FailingFile {
        path,
        why: display_chain(&kept),
    }
}

fn ago(seconds: u64) -> Timespec {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    Timespec {
        seconds: i64::try_from(now.saturating_sub(seconds)).unwrap_or(i64::MAX),
        nanoseconds: 0,
    }
}

/// What could not be done, and why.
pub(super) type Refused = (StatusCode, String);

pub(super) fn refused(error: &dyn std::error::Error) -> Refused {
    (StatusCode::CONFLICT, display_chain(error))
}
