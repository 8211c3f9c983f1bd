//! `POST /wait`: responds when files are backed up, or when the time is over.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use futures_util::future::select_all;
use heirloom_protocol::LibraryPath;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::context::ControlState;
use super::message::{FailingFile, FileReport, WaitRequest, WaitResponse};
use super::status::{failed_files, state_totals};
use crate::background::run_blocking;
use crate::intake::BackupState;
use crate::journal::Amount;
use crate::spool::{Spool, SpoolError};

/// The longest that one request is held open, in milliseconds; the client sends another one if it
/// wants to wait longer.
const WAIT_MS_MAX: u64 = 60_000;

pub(super) async fn wait(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<WaitRequest>,
) -> Json<WaitResponse> {
    let until = Instant::now() + Duration::from_millis(request.within_ms.min(WAIT_MS_MAX));
    let mut changes = [
        context.intake.subscribe(),
        context.uploader.watch(),
        context.library.watch(),
    ];
    loop {
        // Mark first, check second: a change between the two wakes us again.
        changes.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let (checked, paths) = (Arc::clone(&context), request.paths.clone());
        let response = run_blocking(move || check(&checked, paths)).await;
        let any = select_all(changes.iter_mut().map(|change| Box::pin(changed(change))));
        if response.done || timeout_at(until, any).await.is_err() {
            return Json(response);
        }
    }
}

/// Resolves at the next change; never, once the sender is gone.
async fn changed(change: &mut watch::Receiver<u64>) {
    if change.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether the files at `paths` are backed up; the whole mount if `paths` is empty.
fn check(context: &ControlState, paths: Vec<LibraryPath>) -> WaitResponse {
    if paths.is_empty() {
        check_all(context)
    } else {
        check_files(context, paths)
    }
}

fn check_all(context: &ControlState) -> WaitResponse {
    let connection = context.uploader.status().connection;
    // In the order in which a photo passes them: one that moves on while we check is counted by the
    // next service.
    let intake_idle = context.intake.is_reconciled() && !context.intake.is_busy();
    let left = state_totals(context).not_backed_up();
    let names_sent = context.journal.names_queued() == 0;
    WaitResponse {
        done: intake_idle && left.files == 0 && names_sent,
        left,
        stuck: failed_files(context)
            .into_iter()
            .map(FileReport::from)
            .collect(),
        connection,
    }
}

fn check_files(context: &ControlState, paths: Vec<LibraryPath>) -> WaitResponse {
    let connection = context.uploader.status().connection;
    let reports: Vec<_> = paths
        .into_iter()
        .map(|path| file_report(context, path))
        .collect();
    let (stuck, open): (Vec<_>, Vec<_>) = reports
        .into_iter()
        .filter(|(report, _)| {
            !matches!(
                report.state,
                BackupState::BackedUp | BackupState::Placeholder
            )
        })
        .partition(|(report, _)| matches!(report.state, BackupState::Failed | BackupState::Local));
    let left = Amount {
        files: open.len() as u64,
        bytes: open.iter().map(|(_, bytes)| bytes).sum(),
    };
    let stuck = stuck.into_iter().map(|(report, _)| report).collect();
    WaitResponse {
        done: left.files == 0,
        left,
        stuck,
        connection,
    }
}

/// One file's state, and its size in bytes.
fn file_report(context: &ControlState, path: LibraryPath) -> (FileReport, u64) {
    let identified = context.spool.open_read(&path).and_then(|file| {
        Spool::identify(&file).map_err(|source| SpoolError {
            doing: "look at",
            path: context.spool.local_path(&path),
            source,
        })
    });
    match identified {
        Ok((id, stamp)) => {
            let status = context.intake.status(id, &path);
            (
                FileReport {
                    path,
                    state: status.state,
                    fingerprint: status.fingerprint,
                    why: status.why,
                },
                stamp.size,
            )
        }
        Err(error) => {
            let why = Some(format!("{error}: {}", error.source));
            (
                FileReport {
                    path,
                    state: BackupState::Failed,
                    fingerprint: None,
                    why,
                },
                0,
            )
        }
    }
}

impl From<FailingFile> for FileReport {
    fn from(file: FailingFile) -> Self {
        Self {
            path: file.path,
            state: BackupState::Failed,
            fingerprint: None,
            why: Some(file.why),
        }
    }
}
