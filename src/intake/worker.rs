//! The worker: takes files that are due, scans them, makes them durable and records the result.
//!
//! It takes several at a time, because the flushes that make them durable cost the same for one
//! file as for many.

use std::io;
use std::time::Duration;

use heirloom_crash::CrashPoint;

use super::context::IntakeContext;
use super::disposition::{JournalUpdate, decide};
use super::queue::{DueFile, IngestQueue, NextStep};
use super::rename::Renamer;
use super::scan::{FileScan, ScanOutcome};
use crate::journal::JournalError;

/// Files in one batch, each with an open descriptor.
const BATCH_FILES: usize = 64;

/// Bytes in one batch (or one file that is larger), so that small photos do not wait long for large
/// ones.
const BATCH_BYTES: u64 = 64 << 20;

/// Delay before a batch is tried again when the journal could not be written.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// One worker thread's view of the context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worker<'a>(&'a IntakeContext);

impl<'a> Worker<'a> {
    pub(super) fn new(context: &'a IntakeContext) -> Self {
        Self(context)
    }

    /// Scans files as they become due, until the intake stops.
    pub(super) fn run(self) {
        let mut buffer = Vec::new();
        while let Some(due) = self.0.queue.take_due(BATCH_FILES) {
            let scanned = self.scan(due, &mut buffer);
            self.record(scanned);
        }
    }

    /// Scans a batch and makes the files that are to be backed up durable.
    pub(super) fn scan(
        self,
        batch: Vec<DueFile>,
        buffer: &mut Vec<u8>,
    ) -> Vec<(DueFile, ScanOutcome)> {
        let source = &*self.0.source;
        let (mut scans, mut outcomes) = (Vec::new(), Vec::new());
        for due in batch {
            match FileScan::open(source, due) {
                Ok(scan) => match scan.classify(source, self.0.accept) {
                    None => scans.push(scan),
                    Some(outcome) => outcomes.push(self.clear_write_state(outcome, scan)),
                },
                Err(not_opened) => outcomes.push(not_opened),
            }
        }
        scans.sort_by_key(|scan| scan.stamp.size);
        let too_many = scans.split_off(batch_length(&scans));
        outcomes.extend(
            too_many
                .into_iter()
                .map(|scan| (scan.due, ScanOutcome::Interrupted)),
        );
        scans.iter().for_each(FileScan::begin_writeback);
        let hashed: Vec<_> = scans
            .into_iter()
            .map(|scan| {
                let is_wanted = || is_wanted(&self.0.queue, &scan.due);
                (scan.fingerprint(buffer, is_wanted), scan)
            })
            .collect();
        let mut synced: Vec<_> = hashed
            .into_iter()
            .map(|(hashed, scan)| {
                let outcome = hashed.map_or_else(|outcome| outcome, |hash| scan.sync(hash));
                (outcome, scan)
            })
            .collect();
        if !synced.is_empty() {
            heirloom_crash::reached(CrashPoint::FileSynced);
        }
        self.sync_folders(&mut synced);
        if !synced.is_empty() {
            heirloom_crash::reached(CrashPoint::FileNameSynced);
        }
        outcomes.extend(
            synced
                .into_iter()
                .map(|(outcome, scan)| self.clear_write_state(outcome, scan)),
        );
        outcomes
    }

    /// Makes the names of complete files durable.
    fn sync_folders(self, synced: &mut [(ScanOutcome, FileScan)]) {
        let complete = synced
            .iter()
            .filter(|(outcome, _)| matches!(outcome, ScanOutcome::Complete { .. }));
        let folders: Vec<_> = complete.map(|(_, scan)| scan.due.path.parent()).collect();
        let failed = self
            .0
            .folder_sync
            .make_durable(&*self.0.source, folders.iter().map(Option::as_ref));
        for (outcome, scan) in synced {
            if let (Some(error), ScanOutcome::Complete { stamp, fingerprint }) =
                (failed.get(&scan.due.path.parent()), &*outcome)
            {
                *outcome = match error.kind() {
                    // The folder has another name now; so does the file.
                    io::ErrorKind::NotFound => ScanOutcome::Interrupted,
                    // The same error for each of the photos in that folder.
                    kind => ScanOutcome::NotDurable {
                        stamp: *stamp,
                        fingerprint: *fingerprint,
                        error: io::Error::new(kind, error.to_string()),
                    },
                };
            }
        }
    }

    /// Clears the write state of a file that is durable, or that is skipped for its content.
    ///
    /// If that fails, the next start doubts a complete file. That costs its owner a copy if the
    /// journal is lost as well, and no photo.
    fn clear_write_state(self, outcome: ScanOutcome, scan: FileScan) -> (DueFile, ScanOutcome) {
        if needs_no_write_state(&outcome)
            && let Some(Err(error)) = self
                .0
                .queue
                .change_unless_modified(&scan.due, || scan.clear_write_state(&*self.0.source))
        {
            tracing::warn!(file = scan.due.id.0, %error, "cannot clear the write state of a file");
        }
        (scan.due, outcome)
    }

    /// Writes the outcomes that are still true to the journal.
    pub(super) fn record(self, scanned: Vec<(DueFile, ScanOutcome)>) {
        let mut guard = self.0.lock_journal();
        let batch: Vec<DueFile> = scanned.iter().map(|(due, _)| due.clone()).collect();
        let recorded = Renamer::new(self.0)
            .catch_up(&mut guard)
            .and_then(|()| self.write_journal(scanned));
        let steps = match recorded {
            Ok(steps) => steps,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot write to the journal; files stay queued and are tried again"
                );
                let later = self.0.clock.now() + JOURNAL_RETRY;
                batch
                    .into_iter()
                    .map(|due| (due, NextStep::Retry(later)))
                    .collect()
            }
        };
        self.0.queue.finish(steps);
    }

    fn write_journal(
        self,
        scanned: Vec<(DueFile, ScanOutcome)>,
    ) -> Result<Vec<(DueFile, NextStep)>, JournalError> {
        let (mut update, mut steps) = (JournalUpdate::default(), Vec::new());
        for (due, outcome) in scanned {
            // Changed or removed since: another scan is due, or none.
            let Some(name) = self.0.queue.current_name(&due) else {
                continue;
            };
            let known = self.0.journal.file(due.id)?;
            let now = self.0.clock.now();
            let step = decide(&mut update, &due, outcome, name, known, now);
            steps.push((due, step));
        }
        let pending = update.pending();
        // First: if the process ends between the two, the next comparison finds the file with
        // another time than the journal's again.
        if !update.retimed.is_empty() {
            self.0.journal.queue_names(update.retimed)?;
            self.0.downstream.names_changed();
        }
        if !pending.is_empty() {
            heirloom_crash::reached(CrashPoint::WriteStateCleared);
        }
        if !update.records.is_empty() {
            self.0.journal.record(update.records)?;
        }
        if !update.gone.is_empty() {
            self.0.journal.forget(update.gone)?;
        }
        for (id, fingerprint, bytes) in &pending {
            tracing::info!(file = id.0, %fingerprint, bytes, "file is queued for upload");
        }
        if !pending.is_empty() {
            heirloom_crash::reached(CrashPoint::FileQueued);
            self.0.downstream.files_pending();
        }
        Ok(steps)
    }
}

/// Whether a file's write state has served its purpose. A file that is skipped for its name may get
/// a photo's name yet, so it keeps its state.
fn needs_no_write_state(outcome: &ScanOutcome) -> bool {
    match outcome {
        ScanOutcome::Complete { .. } => true,
        ScanOutcome::Skipped { reason, .. } => !reason.is_by_name(),
        ScanOutcome::NotFound
        | ScanOutcome::Placeholder { .. }
        | ScanOutcome::Incomplete { .. }
        | ScanOutcome::Unreadable { .. }
        | ScanOutcome::NotDurable { .. }
        | ScanOutcome::Changed
        | ScanOutcome::Interrupted => false,
    }
}

/// How many of these, ascending by size, make a batch.
fn batch_length(scans: &[FileScan]) -> usize {
    let mut bytes = 0_u64;
    let fitting = scans.iter().take_while(|scan| {
        bytes = bytes.saturating_add(scan.stamp.size);
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1).min(scans.len())
}

fn is_wanted(queue: &IngestQueue, due: &DueFile) -> bool {
    !queue.is_over() && queue.current_name(due).is_some()
}
