//! The table of changed files that were not scanned yet.
//!
//! The mount's threads add entries, the workers take those that are due. Everything here is memory
//! and arithmetic: the caller holds the lock and passes the current time. Every change of a file's
//! content gives its entry a new version, so that a worker that scanned the file meanwhile knows
//! that its result is stale.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use heirloom_protocol::LibraryPath;

use crate::journal::FileId;

/// A closed file is due when this much time passed since its last change. Programs close a file and
/// then set its times, rename it, or open it again to write tags; each of these comes within a few
/// milliseconds.
pub(in crate::intake) const QUIET: Duration = Duration::from_millis(300);

/// Entries in the table at most, some 16 MB of them. Beyond it they are dropped, and the tree is
/// compared with the journal instead.
pub(in crate::intake) const PENDING_MAX: usize = 65_536;

/// How a file got into the table, which says what is known about its completeness before the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::intake) enum FileOrigin {
    /// The mount reported it, or its owner accepted it.
    Reported,
    /// The comparison of tree and journal found it, and nothing is known of how it was written.
    Discovered,
    /// The comparison found it shorter than it was when it was recorded as complete.
    DiscoveredShorter,
}

/// A file that was taken from the table to be scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::intake) struct DueFile {
    pub(in crate::intake) id: FileId,
    pub(in crate::intake) path: LibraryPath,
    /// Version of its entry when it was taken.
    pub(in crate::intake) version: u64,
    /// Renames of the file until it was taken.
    renames: u32,
    /// Number of failed reads in a row.
    pub(in crate::intake) failures: u32,
    /// Whether it was missing when it was looked for the last time.
    pub(in crate::intake) was_missing: bool,
    pub(in crate::intake) origin: FileOrigin,
}

/// The name that a taken file has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::intake) struct CurrentName {
    pub(in crate::intake) path: LibraryPath,
    /// Whether the file was renamed since it was taken; back to the same name also counts.
    pub(in crate::intake) was_renamed: bool,
}

/// What happens to a file's entry after a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::intake) enum NextStep {
    /// The result is in the journal: the entry goes.
    Done,
    /// Due again at this time.
    Retry(Instant),
    /// Recorded as failed; due again at this time.
    RetryFailed(Instant),
    /// The file was not there; due again at this time.
    RetryMissing(Instant),
    /// The file does not exist under this name: the entry goes, and the tree is to be compared.
    Lost,
}

#[derive(Debug)]
struct PendingFile {
    path: LibraryPath,
    writers: u32,
    version: u64,
    renames: u32,
    failures: u32,
    is_missing: bool,
    origin: FileOrigin,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Open for writing.
    Open,
    /// Due at this time.
    Due(Instant),
    /// Being scanned by a worker.
    Taken,
    /// Recorded as failed, and due again at this time.
    Failed(Instant),
}

/// Whether the table had room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::intake) enum Admission {
    Accepted,
    /// The table was full. All entries of closed files were dropped; the tree has to be compared
    /// with the journal.
    Overflowed,
}

/// The table, by file.
#[derive(Debug)]
pub(in crate::intake) struct PendingFiles {
    files: HashMap<FileId, PendingFile>,
    /// Entries that become due, by time.
    schedule: BTreeSet<(Instant, FileId)>,
    version: u64,
    limit: usize,
}

impl PendingFiles {
    pub(in crate::intake) fn new(limit: usize) -> Self {
        Self {
            files: HashMap::new(),
            schedule: BTreeSet::new(),
            version: 0,
            limit,
        }
    }

    pub(in crate::intake) fn len(&self) -> usize {
        self.files.len()
    }

    /// Entries at most.
    pub(in crate::intake) fn limit(&self) -> usize {
        self.limit
    }

    /// A file was opened for writing.
    pub(in crate::intake) fn opened(&mut self, id: FileId, path: &LibraryPath) -> Admission {
        let admission = self.touch_entry(id, path);
        if let Some(entry) = self.files.get_mut(&id) {
            entry.writers = entry.writers.saturating_add(1);
            entry.origin = FileOrigin::Reported;
        }
        self.set_stage(id, Stage::Open);
        admission
    }

    /// A handle for writing was closed. More closings than openings do no harm: they happen after
    /// an overflow.
    pub(in crate::intake) fn closed(
        &mut self,
        id: FileId,
        path: &LibraryPath,
        now: Instant,
    ) -> Admission {
        let admission = self.touch_entry(id, path);
        let entry = self.files.get_mut(&id).map(|entry| {
            entry.writers = entry.writers.saturating_sub(1);
            entry.writers
        });
        if entry == Some(0) {
            self.set_stage(id, Stage::Due(now + QUIET));
        }
        admission
    }

    /// Content or times changed without a handle.
    pub(in crate::intake) fn changed(
        &mut self,
        id: FileId,
        path: &LibraryPath,
        now: Instant,
    ) -> Admission {
        let admission = self.touch_entry(id, path);
        if self.files.get(&id).is_some_and(|entry| entry.writers == 0) {
            self.set_stage(id, Stage::Due(now + QUIET));
        }
        admission
    }

    /// The owner accepted the file as it is.
    pub(in crate::intake) fn force_accepted(
        &mut self,
        id: FileId,
        path: &LibraryPath,
        now: Instant,
    ) -> Admission {
        let admission = self.changed(id, path, now);
        if let Some(entry) = self.files.get_mut(&id) {
            entry.origin = FileOrigin::Reported;
        }
        admission
    }

    /// The comparison of tree and journal found a file that the journal does not describe; nothing
    /// if it has an entry anyway. Due at once: a program that writes it is reported as well.
    pub(in crate::intake) fn discovered(
        &mut self,
        id: FileId,
        path: &LibraryPath,
        origin: FileOrigin,
        now: Instant,
    ) -> Admission {
        if self.files.contains_key(&id) {
            return Admission::Accepted;
        }
        let admission = self.touch_entry(id, path);
        if let Some(entry) = self.files.get_mut(&id) {
            entry.origin = origin;
        }
        self.set_stage(id, Stage::Due(now));
        admission
    }

    /// A file was renamed. What a worker read from it stays true; where to look for it does not.
    pub(in crate::intake) fn rename(&mut self, id: FileId, to: &LibraryPath) {
        if let Some(entry) = self.files.get_mut(&id) {
            entry.rename(to.clone());
        }
    }

    /// A folder was renamed: everything below `from` is below `to` now.
    pub(in crate::intake) fn rename_folder(&mut self, from: &LibraryPath, to: &LibraryPath) {
        for entry in self.files.values_mut() {
            if let Some(path) = rebased(&entry.path, from, to) {
                entry.rename(path);
            }
        }
    }

    /// Two names were exchanged, with everything below them.
    pub(in crate::intake) fn exchange(&mut self, one: &LibraryPath, other: &LibraryPath) {
        for entry in self.files.values_mut() {
            if let Some(path) =
                moved(&entry.path, one, other).or_else(|| moved(&entry.path, other, one))
            {
                entry.rename(path);
            }
        }
    }

    /// A file was removed. Returns whether it had an entry.
    pub(in crate::intake) fn remove(&mut self, id: FileId) -> bool {
        self.set_stage(id, Stage::Taken);
        self.files.remove(&id).is_some()
    }

    /// Takes up to `most` files that are due, the longest due first.
    pub(in crate::intake) fn take_due(&mut self, now: Instant, most: usize) -> Vec<DueFile> {
        let due: Vec<FileId> = self
            .schedule
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(most)
            .map(|(_, id)| *id)
            .collect();
        due.into_iter()
            .filter_map(|id| {
                self.set_stage(id, Stage::Taken);
                let entry = self.files.get(&id)?;
                let PendingFile {
                    ref path,
                    version,
                    renames,
                    failures,
                    is_missing,
                    origin,
                    ..
                } = *entry;
                Some(DueFile {
                    id,
                    path: path.clone(),
                    version,
                    renames,
                    failures,
                    was_missing: is_missing,
                    origin,
                })
            })
            .collect()
    }

    /// When the next file is due.
    pub(in crate::intake) fn next_due(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// Makes every closed file due: nobody will write any more.
    pub(in crate::intake) fn make_closed_files_due(&mut self, now: Instant) {
        let waiting: Vec<FileId> = self.schedule.iter().map(|(_, id)| *id).collect();
        for id in waiting {
            if let Some(Stage::Due(_)) = self.files.get(&id).map(|entry| entry.stage) {
                self.set_stage(id, Stage::Due(now));
            }
        }
    }

    /// The name that the file has now; `None` if it changed, or was removed, since it was taken.
    pub(in crate::intake) fn current_name(&self, due: &DueFile) -> Option<CurrentName> {
        let entry = self.files.get(&due.id)?;
        (entry.version == due.version).then(|| CurrentName {
            path: entry.path.clone(),
            was_renamed: entry.renames != due.renames,
        })
    }

    /// Applies what a scan led to, unless the file changed since it was taken.
    pub(in crate::intake) fn finish(&mut self, due: &DueFile, step: NextStep) {
        let Some(entry) = self.files.get_mut(&due.id) else {
            return;
        };
        if entry.version != due.version {
            return;
        }
        match step {
            NextStep::Done | NextStep::Lost => {
                self.remove(due.id);
            }
            NextStep::Retry(at) => self.set_stage(due.id, Stage::Due(at)),
            NextStep::RetryMissing(at) => {
                entry.is_missing = true;
                self.set_stage(due.id, Stage::Due(at));
            }
            NextStep::RetryFailed(at) => {
                entry.failures = entry.failures.saturating_add(1);
                self.set_stage(due.id, Stage::Failed(at));
            }
        }
    }

    /// Whether a file is open for writing.
    pub(in crate::intake) fn is_open(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(|entry| entry.writers > 0)
    }

    /// Whether a file was missing when a worker looked for it.
    #[cfg(test)]
    pub(in crate::intake) fn is_missing(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(|entry| entry.is_missing)
    }

    /// Whether a file waits for its first scan since its last change.
    pub(in crate::intake) fn is_unscanned(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(PendingFile::is_unscanned)
    }

    /// The files that wait for their first scan since their last change.
    pub(in crate::intake) fn unscanned(&self) -> impl Iterator<Item = (FileId, &LibraryPath)> {
        self.files
            .iter()
            .filter(|(_, entry)| entry.is_unscanned())
            .map(|(id, entry)| (*id, &entry.path))
    }

    /// Adds or updates an entry, under a new version.
    fn touch_entry(&mut self, id: FileId, path: &LibraryPath) -> Admission {
        let admission = if self.files.len() >= self.limit && !self.files.contains_key(&id) {
            self.drop_closed();
            Admission::Overflowed
        } else {
            Admission::Accepted
        };
        self.version += 1;
        let version = self.version;
        // An existing entry keeps its name: renames are reported, and a release may come with the
        // name from before one.
        let entry = self.files.entry(id).or_insert_with(|| PendingFile {
            path: path.clone(),
            writers: 0,
            version,
            renames: 0,
            failures: 0,
            is_missing: false,
            origin: FileOrigin::Reported,
            stage: Stage::Taken,
        });
        entry.version = version;
        entry.failures = 0;
        entry.is_missing = false;
        admission
    }

    /// Drops the entries of closed files. Those of open files stay, because their close must be
    /// recognised; there are no more of them than file handles.
    fn drop_closed(&mut self) {
        self.files.retain(|_, entry| entry.writers > 0);
        self.schedule.clear();
    }

    fn set_stage(&mut self, id: FileId, stage: Stage) {
        let Some(entry) = self.files.get_mut(&id) else {
            return;
        };
        if let Stage::Due(at) | Stage::Failed(at) = entry.stage {
            self.schedule.remove(&(at, id));
        }
        entry.stage = stage;
        if let Stage::Due(at) | Stage::Failed(at) = stage {
            self.schedule.insert((at, id));
        }
    }
}

impl PendingFile {
    fn rename(&mut self, to: LibraryPath) {
        self.path = to;
        self.renames = self.renames.wrapping_add(1);
    }

    fn is_unscanned(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Due(_) => true,
            Stage::Taken => self.failures == 0,
            Stage::Failed(_) => false,
        }
    }
}

/// The path of `path` after the folder `from` was renamed to `to`. `None` if it is not in that
/// folder, or becomes too long.
pub(in crate::intake) fn rebased(
    path: &LibraryPath,
    from: &LibraryPath,
    to: &LibraryPath,
) -> Option<LibraryPath> {
    let below = path
        .as_str()
        .strip_prefix(from.as_str())?
        .strip_prefix('/')?;
    LibraryPath::new(format!("{to}/{below}")).ok()
}

/// Like [`rebased`], where `from` may also be the path itself.
fn moved(path: &LibraryPath, from: &LibraryPath, to: &LibraryPath) -> Option<LibraryPath> {
    if path == from {
        Some(to.clone())
    } else {
        rebased(path, from, to)
    }
}

#[cfg(test)]
mod tests;
