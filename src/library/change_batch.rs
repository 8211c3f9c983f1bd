//! A batch: some of the outbox, put into the server's words, and what the answers mean for the
//! outbox.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;

use heirloom_protocol::message::{LibraryBatch, LibraryChange, LibraryOutcome};
use heirloom_protocol::{ErrorCode, LibraryPath};

use crate::journal::{Journal, JournalError, NameChange};

/// Changes of which none depends on another's outcome: no path is named twice, so every base is
/// known beforehand.
#[derive(Debug, Default)]
pub(super) struct Batch {
    queued: Vec<(u64, NameChange)>,
    changes: Vec<LibraryChange>,
}

/// What the server's answer to a batch asks of us.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Out of the outbox.
    pub(super) done: Vec<u64>,
    /// The versions that paths have now.
    pub(super) versions: Vec<(LibraryPath, Option<u64>)>,
    /// The library's own numbers of these changes.
    pub(super) ours: BTreeSet<u64>,
    /// Based on something else than what stands there: to be sent again.
    pub(super) conflicts: Vec<(u64, NameChange, u64)>,
    /// The server said no.
    pub(super) refused: Vec<(u64, NameChange, ErrorCode)>,
}

impl Batch {
    /// The longest beginning of the outbox that makes a batch. Reads the journal, so it blocks.
    pub(super) fn gather(journal: &Journal, limit: usize) -> Result<Self, JournalError> {
        let mut batch = Self::default();
        let mut named = HashSet::new();
        for (number, change) in journal.queued_names(limit.max(1))? {
            if !paths(&change)
                .into_iter()
                .all(|path| named.insert(path.clone()))
            {
                break;
            }
            batch.changes.push(worded(journal, &change)?);
            batch.queued.push((number, change));
        }
        Ok(batch)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.queued.len()
    }

    /// The one change, if there is only one.
    pub(super) fn only(&self) -> Option<(u64, &NameChange)> {
        match self.queued.as_slice() {
            [(number, change)] => Some((*number, change)),
            _ => None,
        }
    }

    pub(super) fn message(&self) -> LibraryBatch {
        LibraryBatch {
            changes: self.changes.clone(),
        }
    }

    /// Reads the outcomes, one for each change.
    pub(super) fn judge(self, outcomes: Vec<LibraryOutcome>) -> Verdict {
        let mut verdict = Verdict::default();
        for ((number, change), outcome) in self.queued.into_iter().zip(outcomes) {
            match outcome {
                LibraryOutcome::Applied { version } => {
                    verdict.done.push(number);
                    verdict.ours.extend(numbers(&change, version));
                    verdict.versions.extend(standing(&change, version));
                }
                LibraryOutcome::Conflict { current } => {
                    verdict.conflicts.push((number, change, current));
                }
                LibraryOutcome::Refused { code } => verdict.refused.push((number, change, code)),
            }
        }
        verdict
    }
}

/// The paths that a change reads or writes.
fn paths(change: &NameChange) -> Vec<&LibraryPath> {
    match change {
        NameChange::Put { path, .. } | NameChange::Remove { path } => vec![path],
        NameChange::Move { from, to } if from == to => vec![from],
        NameChange::Move { from, to } => vec![from, to],
    }
}

/// The path whose version a change is based on.
pub(super) fn based_on(change: &NameChange) -> &LibraryPath {
    match change {
        NameChange::Put { path, .. }
        | NameChange::Remove { path }
        | NameChange::Move { from: path, .. } => path,
    }
}

fn worded(journal: &Journal, change: &NameChange) -> Result<LibraryChange, JournalError> {
    let base = journal.name_version(based_on(change))?.unwrap_or(0);
    Ok(match change.clone() {
        NameChange::Put {
            path,
            fingerprint,
            mtime_ns,
        } => LibraryChange::Put {
            path,
            fingerprint,
            mtime_ns,
            base,
        },
        NameChange::Move { from, to } => LibraryChange::Move { from, to, base },
        NameChange::Remove { path } => LibraryChange::Remove { path, base },
    })
}

/// The library counts a move twice: what left, and what came.
fn numbers(change: &NameChange, version: u64) -> RangeInclusive<u64> {
    match change {
        NameChange::Move { from, to } if from != to => version.saturating_sub(1)..=version,
        NameChange::Put { .. } | NameChange::Remove { .. } | NameChange::Move { .. } => {
            version..=version
        }
    }
}

/// What stands where after a change was applied.
fn standing(change: &NameChange, version: u64) -> Vec<(LibraryPath, Option<u64>)> {
    match change {
        NameChange::Put { path, .. } => vec![(path.clone(), Some(version))],
        NameChange::Remove { path } => vec![(path.clone(), None)],
        NameChange::Move { from, to } if from == to => vec![(to.clone(), Some(version))],
        NameChange::Move { from, to } => vec![(from.clone(), None), (to.clone(), Some(version))],
    }
}
