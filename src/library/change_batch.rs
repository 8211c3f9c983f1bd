//! A batch of changes from the outbox: its request to the server, and what the response means.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;

use heirloom_protocol::message::{LibraryBatch, LibraryChange, LibraryOutcome};
use heirloom_protocol::{ErrorCode, LibraryPath};

use crate::journal::{Journal, JournalError, NameChange};

/// Changes that do not depend on each other's outcome: no path occurs twice, so the version that
/// each change is based on is known beforehand.
#[derive(Debug, Default)]
pub(super) struct ChangeBatch {
    queued: Vec<(u64, NameChange)>,
    changes: Vec<LibraryChange>,
}

/// What the server's response to a batch means. Changes are given by their number in the outbox.
#[derive(Debug, Default)]
pub(super) struct ChangeOutcomes {
    /// Changes that leave the outbox.
    pub(super) done: Vec<u64>,
    /// Paths with their version from now on; none if the path does not exist.
    pub(super) versions: Vec<(LibraryPath, Option<u64>)>,
    /// Versions that the library gave to these changes.
    pub(super) own_versions: BTreeSet<u64>,
    /// Changes that were based on an outdated version, with the current one.
    pub(super) conflicts: Vec<(u64, NameChange, u64)>,
    /// Changes that the server refused.
    pub(super) refused: Vec<(u64, NameChange, ErrorCode)>,
}

impl ChangeBatch {
    /// The changes at the front of the outbox that make a batch, at most `limit`. Blocks on the
    /// disk.
    pub(super) fn from_outbox(journal: &Journal, limit: usize) -> Result<Self, JournalError> {
        let mut batch = Self::default();
        let mut used = HashSet::new();
        for (number, change) in journal.queued_names(limit.max(1))? {
            if !paths(&change)
                .into_iter()
                .all(|path| used.insert(path.clone()))
            {
                break;
            }
            batch.changes.push(encode(journal, &change)?);
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

    /// The only change, if there is exactly one.
    pub(super) fn single(&self) -> Option<(u64, &NameChange)> {
        match self.queued.as_slice() {
            [(number, change)] => Some((*number, change)),
            _ => None,
        }
    }

    /// The request to the server.
    pub(super) fn message(&self) -> LibraryBatch {
        LibraryBatch {
            changes: self.changes.clone(),
        }
    }

    /// Sorts the changes by their outcomes, of which the server sent one for each.
    pub(super) fn classify(self, outcomes: Vec<LibraryOutcome>) -> ChangeOutcomes {
        let mut sorted = ChangeOutcomes::default();
        for ((number, change), outcome) in self.queued.into_iter().zip(outcomes) {
            match outcome {
                LibraryOutcome::Applied { version } => {
                    sorted.done.push(number);
                    sorted.own_versions.extend(versions_of(&change, version));
                    sorted.versions.extend(path_versions(&change, version));
                }
                LibraryOutcome::Conflict { current } => {
                    sorted.conflicts.push((number, change, current));
                }
                LibraryOutcome::Refused { code } => sorted.refused.push((number, change, code)),
            }
        }
        sorted
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
pub(super) fn base_path(change: &NameChange) -> &LibraryPath {
    match change {
        NameChange::Put { path, .. }
        | NameChange::Remove { path }
        | NameChange::Move { from: path, .. } => path,
    }
}

fn encode(journal: &Journal, change: &NameChange) -> Result<LibraryChange, JournalError> {
    let base = journal.name_version(base_path(change))?.unwrap_or(0);
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

/// The versions that the library gave to an applied change: a move has two, for the old path and
/// the new one.
fn versions_of(change: &NameChange, version: u64) -> RangeInclusive<u64> {
    match change {
        NameChange::Move { from, to } if from != to => version.saturating_sub(1)..=version,
        NameChange::Put { .. } | NameChange::Remove { .. } | NameChange::Move { .. } => {
            version..=version
        }
    }
}

/// The paths of an applied change with their version; none if the path does not exist any more.
fn path_versions(change: &NameChange, version: u64) -> Vec<(LibraryPath, Option<u64>)> {
    match change {
        NameChange::Put { path, .. } => vec![(path.clone(), Some(version))],
        NameChange::Remove { path } => vec![(path.clone(), None)],
        NameChange::Move { from, to } if from == to => vec![(to.clone(), Some(version))],
        NameChange::Move { from, to } => vec![(from.clone(), None), (to.clone(), Some(version))],
    }
}
