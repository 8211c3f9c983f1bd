//! The comparison of tree and journal, in the background after each start, and whenever queue
//! entries had to be dropped: it finds whatever happened while no mount was running (a crash, a
//! deleted journal, a file manager in the spool).
//!
//! Files that are gone are forgotten in the journal and never removed from the library: a spool
//! that was lost, or a disk that was not mounted, must not empty it. Only a removal seen through
//! the mount does that.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use heirloom_protocol::LibraryPath;

use super::context::IntakeContext;
use super::incomplete_reason::IncompleteReason;
use super::kind::is_still_skipped;
use super::name::skip_reason_for_name;
use super::queue::{Admission, FileOrigin, NameEvent, ReconcileState};
use super::rename::Renamer;
use super::skip_reason::SkipReason;
use crate::config::Accept;
use crate::journal::{FileId, FileRecord, FileState, JournalError, Stamp};
use crate::spool::{Placeholder, SpoolError, SpoolPath};

/// Delay before the comparison begins again when the journal could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// Records read at a time when looking for those whose file is gone.
const PAGE: usize = 1024;

/// How a comparison ended.
#[derive(Debug, PartialEq, Eq)]
enum ComparisonEnd {
    Finished,
    /// The intake stops.
    BrokenOff,
}

/// Compares the tree with the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reconciler<'a>(&'a IntakeContext);

impl<'a> Reconciler<'a> {
    pub(super) fn new(context: &'a IntakeContext) -> Self {
        Self(context)
    }

    /// Compares whenever that is necessary, until the intake stops.
    pub(super) fn run(self) {
        while self.0.queue.begin_reconcile() {
            match self.compare() {
                Ok(ComparisonEnd::Finished) => {
                    tracing::info!("compared the tree with the journal");
                    self.0.queue.end_reconcile(ReconcileState::Done);
                }
                Ok(ComparisonEnd::BrokenOff) => return,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot compare the tree with the journal; trying again"
                    );
                    self.0.queue.end_reconcile(ReconcileState::Needed);
                    self.0.queue.pause(RETRY);
                }
            }
        }
    }

    fn compare(self) -> Result<ComparisonEnd, JournalError> {
        // Eight bytes a file: 8 MB for a million. A bitmap would be smaller for some disks and far
        // larger for others, whose inode numbers are spread over 64 bits (btrfs, XFS); a hash set
        // would take three times as much.
        let mut found = Vec::new();
        let mut outcome = Ok(ComparisonEnd::Finished);
        self.0.source.walk(SpoolPath::Root, &mut |step| {
            let next = match step {
                Ok((path, id, stamp)) => {
                    found.push(id);
                    self.compare_file(&path, id, stamp)
                }
                Err(error) => {
                    log_unreadable(&error);
                    Ok(ControlFlow::Continue(()))
                }
            };
            match next {
                Ok(ControlFlow::Continue(())) if !self.0.queue.is_shutting_down() => {
                    return ControlFlow::Continue(());
                }
                Ok(_) => outcome = Ok(ComparisonEnd::BrokenOff),
                Err(error) => outcome = Err(error),
            }
            ControlFlow::Break(())
        });
        if outcome? == ComparisonEnd::BrokenOff {
            return Ok(ComparisonEnd::BrokenOff);
        }
        found.sort_unstable();
        self.forget_missing(&found)
    }

    fn compare_file(
        self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
    ) -> Result<ControlFlow<()>, JournalError> {
        let known = self.0.journal.file(id)?;
        match known {
            Some(record) if record.stamp == stamp && self.is_up_to_date(path, &record) => {
                if record.path == *path {
                    return Ok(ControlFlow::Continue(()));
                }
                let event = NameEvent::Discovered {
                    id,
                    path: path.clone(),
                };
                self.0.queue.push_event(event, |_, _| Admission::Accepted);
            }
            other => {
                let is_shorter = other
                    .and_then(|record| complete_size(&record))
                    .is_some_and(|size| stamp.size < size);
                let origin = if is_shorter {
                    FileOrigin::DiscoveredShorter
                } else {
                    FileOrigin::Discovered
                };
                self.0
                    .queue
                    .admit(|pending, now| pending.discovered(id, path, origin, now));
            }
        }
        Ok(if self.0.queue.wait_for_capacity() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    }

    /// Whether a file with the stamp of its record needs no scan. A placeholder that a crash kept
    /// from becoming one, or from being filled, has the stamp of both.
    fn is_up_to_date(self, path: &LibraryPath, record: &FileRecord) -> bool {
        match &record.state {
            FileState::Placeholder { fingerprint } => self
                .placeholder(path)
                .is_some_and(|found| found.fingerprint == *fingerprint),
            FileState::Pending { .. }
            | FileState::BackedUp { .. }
            | FileState::Local { .. }
            | FileState::Failed { .. } => is_final(self.0.accept, record),
        }
    }

    fn placeholder(self, path: &LibraryPath) -> Option<Placeholder> {
        let opened = self.0.source.open(path).ok()?;
        Placeholder::of(&opened.file).ok()?
    }

    /// Forgets the records of files that were not found, and are not where the journal has them.
    fn forget_missing(self, found: &[FileId]) -> Result<ComparisonEnd, JournalError> {
        let mut after = None;
        loop {
            let page = self.0.journal.files_after(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(ComparisonEnd::Finished);
            };
            after = Some(*last);
            let missing: HashSet<FileId> = page
                .iter()
                .map(|(id, _)| *id)
                .filter(|id| found.binary_search(id).is_err())
                .collect();
            if !missing.is_empty() {
                self.forget_unless_found(missing)?;
            }
            if self.0.queue.is_shutting_down() {
                return Ok(ComparisonEnd::BrokenOff);
            }
        }
    }

    /// Forgets records of files that do not exist. A file may have been created or renamed since
    /// the walk: the journal's name for it decides, once all renames are applied.
    pub(super) fn forget_unless_found(self, missing: HashSet<FileId>) -> Result<(), JournalError> {
        let mut guard = self.0.lock_journal();
        Renamer::new(self.0).catch_up(&mut guard)?;
        let mut gone = Vec::new();
        for id in missing {
            if let Some(record) = self.0.journal.file(id)?
                && self.is_gone(id, &record)
            {
                gone.push(id);
            }
        }
        if gone.is_empty() {
            Ok(())
        } else {
            self.0.journal.forget(gone)
        }
    }

    /// Whether a file is certainly gone. A folder that cannot be read at the moment proves nothing.
    fn is_gone(self, id: FileId, record: &FileRecord) -> bool {
        match self.0.source.metadata(&record.path) {
            Ok(metadata) => metadata.id != id,
            Err(error) => error.is_missing(),
        }
    }
}

fn log_unreadable(error: &SpoolError) {
    if !error.is_missing() {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "cannot read part of the tree"
        );
    }
}

/// Size of a file that was complete when it was recorded.
fn complete_size(record: &FileRecord) -> Option<u64> {
    match record.state {
        FileState::Pending { .. } | FileState::BackedUp { .. } | FileState::Placeholder { .. } => {
            Some(record.stamp.size)
        }
        FileState::Local { .. } | FileState::Failed { .. } => None,
    }
}

/// Whether a file that did not change since this was recorded needs no other scan.
fn is_final(accept: Accept, record: &FileRecord) -> bool {
    let name_reason = skip_reason_for_name(&record.path);
    match &record.state {
        FileState::Pending { .. } | FileState::BackedUp { .. } => name_reason.is_none(),
        FileState::Placeholder { .. } => true,
        // By the stored text: the accepted kinds may have changed, and so may this program.
        FileState::Local { why } => {
            SkipReason::from_text(why).is_some_and(|reason| match name_reason {
                Some(name_reason) => name_reason == reason,
                None => is_still_skipped(accept, reason),
            })
        }
        // A file that could not be read may be readable now. One that could not be stored is not
        // sound for being readable, and one that was shorter than before has not grown.
        FileState::Failed { fingerprint, why } => {
            fingerprint.is_some() || IncompleteReason::is_shorter(why)
        }
    }
}
