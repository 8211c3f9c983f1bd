//! `GET /status`: the state of the mount, collected from its services.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heirloom_protocol::LibraryPath;

use super::context::ControlState;
use super::message::{FailingFile, FetchReport, MountStatus, SavedBytes, StateTotals};
use crate::background::run_blocking;
use crate::journal::{Amount, FileId, FileRecord, FileState};

/// Failed files that one response lists; the counts include all of them.
const FAILED_MAX: usize = 100;

pub(super) async fn status(State(context): State<Arc<ControlState>>) -> Json<MountStatus> {
    Json(run_blocking(move || mount_status(&context)).await)
}

fn mount_status(context: &ControlState) -> MountStatus {
    let (uploader, fetch) = (context.uploader.status(), context.fetcher.status());
    let fetch_errors = fetch
        .errors
        .iter()
        .filter_map(|(id, why)| Some((path_of(context, *id)?, why.clone())));
    let retrying = uploader.failing.into_iter().chain(fetch_errors).collect();
    MountStatus {
        mountpoint: context.mountpoint.clone(),
        state_dir: context.state_dir.root().to_owned(),
        server: context.server.clone(),
        connection: uploader.connection.clone(),
        files: state_totals(context),
        comparing: !context.intake.is_reconciled(),
        rate_bytes_per_second: uploader.bytes_per_second,
        shard_bytes: uploader.shard_bytes,
        link: uploader.link,
        sent_bytes: uploader.sent_bytes,
        saved: SavedBytes {
            sync_list_bytes: uploader.saved_by_sync_list_bytes,
            check_bytes: uploader.saved_by_check_bytes,
            instant_upload_bytes: uploader.saved_by_instant_upload_bytes,
        },
        library: context.library.feed_status(),
        fetch: FetchReport {
            fetching: fetch.fetching as u64,
            fetched_bytes: fetch.fetched_bytes,
            pinned_left: fetch.pinned_missing,
        },
        names_queued: context.journal.names_queued(),
        failing: failing_files(context, retrying),
        io_path: context.mount.io_path(),
        pid: std::process::id(),
    }
}

/// Failed files first, then those that are being retried.
fn failing_files(context: &ControlState, retrying: Vec<(LibraryPath, String)>) -> Vec<FailingFile> {
    let mut failing = failed_files(context);
    let known: HashSet<_> = failing.iter().map(|file| file.path.clone()).collect();
    let others = retrying
        .into_iter()
        .filter(|(path, _)| !known.contains(path));
    failing.extend(others.map(|(path, why)| FailingFile { path, why }));
    failing
}

fn path_of(context: &ControlState, id: FileId) -> Option<LibraryPath> {
    let record = context.journal.file(id).unwrap_or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot read the name of a file from the journal"
        );
        None
    });
    record.map(|record| record.path)
}

/// Files and bytes of the mount by state.
pub(super) fn state_totals(context: &ControlState) -> StateTotals {
    let tally = context.intake.tally();
    let uploading =
        context
            .uploader
            .status()
            .uploading
            .iter()
            .fold(Amount::default(), |sum, (_, progress)| Amount {
                files: sum.files + 1,
                bytes: sum.bytes + progress.total_bytes,
            });
    StateTotals {
        backed_up: tally.backed_up,
        // A file in flight is still pending in the journal; here each file has one state.
        pending: Amount {
            files: tally.pending.files.saturating_sub(uploading.files),
            bytes: tally.pending.bytes.saturating_sub(uploading.bytes),
        },
        uploading,
        local: tally.local,
        failed: tally.failed,
        placeholder: tally.placeholder,
    }
}

/// Failed files, at most [`FAILED_MAX`] of them.
pub(super) fn failed_files(context: &ControlState) -> Vec<FailingFile> {
    let records = context.journal.failed(FAILED_MAX).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot list failed files");
        Vec::new()
    });
    let why = |(_, record): (FileId, FileRecord)| match record.state {
        FileState::Failed { why, .. } => Some(FailingFile {
            path: record.path,
            why,
        }),
        FileState::Pending { .. }
        | FileState::BackedUp { .. }
        | FileState::Placeholder { .. }
        | FileState::Local { .. } => None,
    };
    records.into_iter().filter_map(why).collect()
}
