//! *Notes*: which files changed and have not been looked at yet.
//!
//! The mount's threads write notes, the workers take those that are due. Everything here is memory
//! and arithmetic: the caller holds the lock and says what time it is. Every change of a file's
//! content gives its note a new version, so that a worker that looked at the file meanwhile knows
//! that what it found is stale.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use heirloom_protocol::LibraryPath;

use crate::journal::FileId;

/// A file is quiet when nobody has it open for writing and so much time went by since the last
/// change. Programs close a file and then set its times, rename it, or open it again to write tags;
/// each of these comes within a few milliseconds.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// So many notes are kept, some 16 MB of them. Beyond it they are dropped, and the tree is compared
/// with the journal instead.
pub(super) const NOTES_MAX: usize = 65_536;

/// What stands for a file's being whole, before anybody has looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The mount told of it, or its owner.
    Told,
    /// Nobody: the comparison of tree and journal met it as nobody knows it.
    Met,
    /// Nobody, and it was promised with more bytes.
    MetShorter,
}

/// One file, as the worker that is to look at it gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glance {
    pub(super) id: FileId,
    pub(super) path: LibraryPath,
    /// Of the note that it was taken from.
    pub(super) version: u64,
    /// How often the file had been renamed by then.
    renames: u32,
    /// How often in a row it could not be read.
    pub(super) failures: u32,
    /// Whether it was not there already, the last time.
    pub(super) was_missing: bool,
    pub(super) origin: Origin,
}

#[derive(Debug)]
struct Note {
    path: LibraryPath,
    writers: u32,
    version: u64,
    renames: u32,
    failures: u32,
    is_missing: bool,
    origin: Origin,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Somebody has it open for writing.
    Open,
    /// Due at this time.
    Due(Instant),
    /// A worker looks at it.
    Taken,
    /// It could not be read, the journal says so, and it is due again at this time.
    Failing(Instant),
}

/// What became of a note that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Noting {
    Noted,
    /// There were too many. All notes of closed files were dropped; the tree has to be compared.
    Overflowed,
}

/// All notes, by file.
#[derive(Debug)]
pub(super) struct Notes {
    files: HashMap<FileId, Note>,
    /// Of those with a time, by time.
    schedule: BTreeSet<(Instant, FileId)>,
    version: u64,
    limit: usize,
}

impl Notes {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            files: HashMap::new(),
            schedule: BTreeSet::new(),
            version: 0,
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// So many are kept at most.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Somebody opened it for writing.
    pub(super) fn open(&mut self, id: FileId, path: &LibraryPath) -> Noting {
        let noting = self.change(id, path);
        if let Some(note) = self.files.get_mut(&id) {
            note.writers = note.writers.saturating_add(1);
            note.origin = Origin::Told;
        }
        self.stage(id, Stage::Open);
        noting
    }

    /// One who had it open for writing closed it. More closings than openings do no harm: after
    /// overflows there are some.
    pub(super) fn close(&mut self, id: FileId, path: &LibraryPath, now: Instant) -> Noting {
        let noting = self.change(id, path);
        let note = self.files.get_mut(&id).map(|note| {
            note.writers = note.writers.saturating_sub(1);
            note.writers
        });
        if note == Some(0) {
            self.stage(id, Stage::Due(now + QUIET));
        }
        noting
    }

    /// It changed in some other way.
    pub(super) fn touch(&mut self, id: FileId, path: &LibraryPath, now: Instant) -> Noting {
        let noting = self.change(id, path);
        if self.files.get(&id).is_some_and(|note| note.writers == 0) {
            self.stage(id, Stage::Due(now + QUIET));
        }
        noting
    }

    /// Its owner vouches for it.
    pub(super) fn vouch(&mut self, id: FileId, path: &LibraryPath, now: Instant) -> Noting {
        let noting = self.touch(id, path, now);
        if let Some(note) = self.files.get_mut(&id) {
            note.origin = Origin::Told;
        }
        noting
    }

    /// It was found as the journal does not know it, unless it was noted anyway. Due at once: if
    /// anybody is at it, they are noted in their turn.
    pub(super) fn find(
        &mut self,
        id: FileId,
        path: &LibraryPath,
        origin: Origin,
        now: Instant,
    ) -> Noting {
        if self.files.contains_key(&id) {
            return Noting::Noted;
        }
        let noting = self.change(id, path);
        if let Some(note) = self.files.get_mut(&id) {
            note.origin = origin;
        }
        self.stage(id, Stage::Due(now));
        noting
    }

    /// It has another name. What a worker found in it stays true; where to look for it does not.
    pub(super) fn rename(&mut self, id: FileId, to: &LibraryPath) {
        if let Some(note) = self.files.get_mut(&id) {
            note.rename(to.clone());
        }
    }

    /// All below `from` is below `to` now.
    pub(super) fn rename_folder(&mut self, from: &LibraryPath, to: &LibraryPath) {
        for note in self.files.values_mut() {
            if let Some(path) = rebased(&note.path, from, to) {
                note.rename(path);
            }
        }
    }

    /// What stood at each of the two names, or below, stands at the other now.
    pub(super) fn exchange(&mut self, one: &LibraryPath, other: &LibraryPath) {
        for note in self.files.values_mut() {
            if let Some(path) =
                moved(&note.path, one, other).or_else(|| moved(&note.path, other, one))
            {
                note.rename(path);
            }
        }
    }

    /// It is gone. Answers whether it had been noted.
    pub(super) fn remove(&mut self, id: FileId) -> bool {
        self.stage(id, Stage::Taken);
        self.files.remove(&id).is_some()
    }

    /// Takes up to `most` files that are due, those first that are due longest.
    pub(super) fn take_due(&mut self, now: Instant, most: usize) -> Vec<Glance> {
        let due: Vec<FileId> = self
            .schedule
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(most)
            .map(|(_, id)| *id)
            .collect();
        due.into_iter()
            .filter_map(|id| {
                self.stage(id, Stage::Taken);
                let note = self.files.get(&id)?;
                let Note {
                    ref path,
                    version,
                    renames,
                    failures,
                    is_missing,
                    origin,
                    ..
                } = *note;
                Some(Glance {
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
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// Everything that is closed is due: nobody will write any more.
    pub(super) fn hasten(&mut self, now: Instant) {
        let waiting: Vec<FileId> = self.schedule.iter().map(|(_, id)| *id).collect();
        for id in waiting {
            if let Some(Stage::Due(_)) = self.files.get(&id).map(|note| note.stage) {
                self.stage(id, Stage::Due(now));
            }
        }
    }

    /// Whether nothing changed since this glance, but for the name; and that name.
    pub(super) fn name_now(&self, glance: &Glance) -> Option<&LibraryPath> {
        self.files
            .get(&glance.id)
            .filter(|note| note.version == glance.version)
            .map(|note| &note.path)
    }

    /// Whether the file was renamed since this glance; back to the same name also counts.
    pub(super) fn was_renamed(&self, glance: &Glance) -> bool {
        self.files
            .get(&glance.id)
            .is_some_and(|note| note.renames != glance.renames)
    }

    /// It was looked at, and what was found is in the journal.
    pub(super) fn settle(&mut self, glance: &Glance) {
        if self.name_now(glance).is_some() {
            self.remove(glance.id);
        }
    }

    /// It was taken and not looked at to the end: due again at `at`.
    pub(super) fn put_back(&mut self, glance: &Glance, at: Instant) {
        if self.name_now(glance).is_some() {
            self.stage(glance.id, Stage::Due(at));
        }
    }

    /// It was not where it should be: due again at `at`.
    pub(super) fn miss(&mut self, glance: &Glance, at: Instant) {
        if self.name_now(glance).is_some()
            && let Some(note) = self.files.get_mut(&glance.id)
        {
            note.is_missing = true;
            self.stage(glance.id, Stage::Due(at));
        }
    }

    /// It could not be read, and the journal says so: due again at `at`.
    pub(super) fn fail(&mut self, glance: &Glance, at: Instant) {
        if self.name_now(glance).is_some()
            && let Some(note) = self.files.get_mut(&glance.id)
        {
            note.failures = note.failures.saturating_add(1);
            self.stage(glance.id, Stage::Failing(at));
        }
    }

    /// Whether somebody has this file open for writing.
    pub(super) fn is_open(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(|note| note.writers > 0)
    }

    /// Whether it was not where it should be when a worker looked for it.
    #[cfg(test)]
    pub(super) fn is_missing(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(|note| note.is_missing)
    }

    /// Whether this file was noted and not looked at yet. One that could not be read was looked at.
    pub(super) fn awaits(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(Note::awaits)
    }

    /// The files that were noted and not looked at yet.
    pub(super) fn awaiting(&self) -> impl Iterator<Item = (FileId, &LibraryPath)> {
        self.files
            .iter()
            .filter(|(_, note)| note.awaits())
            .map(|(id, note)| (*id, &note.path))
    }

    /// Begins a note or goes on with it, under a new version.
    fn change(&mut self, id: FileId, path: &LibraryPath) -> Noting {
        let noting = if self.files.len() >= self.limit && !self.files.contains_key(&id) {
            self.drop_closed();
            Noting::Overflowed
        } else {
            Noting::Noted
        };
        self.version += 1;
        let version = self.version;
        // The name of an older note is kept: renames are told, and a release may come with the name
        // from before one.
        let note = self.files.entry(id).or_insert_with(|| Note {
            path: path.clone(),
            writers: 0,
            version,
            renames: 0,
            failures: 0,
            is_missing: false,
            origin: Origin::Told,
            stage: Stage::Taken,
        });
        note.version = version;
        note.failures = 0;
        note.is_missing = false;
        noting
    }

    /// Those that are open stay, or nobody would know when they are closed: there are no more of
    /// them than file handles.
    fn drop_closed(&mut self) {
        self.files.retain(|_, note| note.writers > 0);
        self.schedule.clear();
    }

    fn stage(&mut self, id: FileId, stage: Stage) {
        let Some(note) = self.files.get_mut(&id) else {
            return;
        };
        if let Stage::Due(at) | Stage::Failing(at) = note.stage {
            self.schedule.remove(&(at, id));
        }
        note.stage = stage;
        if let Stage::Due(at) | Stage::Failing(at) = stage {
            self.schedule.insert((at, id));
        }
    }
}

impl Note {
    fn rename(&mut self, to: LibraryPath) {
        self.path = to;
        self.renames = self.renames.wrapping_add(1);
    }

    fn awaits(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Due(_) => true,
            Stage::Taken => self.failures == 0,
            Stage::Failing(_) => false,
        }
    }
}

/// Where `path` is after the folder `from` became `to`. Nothing if it was not in there, or if it
/// fits no more.
pub(super) fn rebased(
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

/// The same, where `from` may be a file's own name.
fn moved(path: &LibraryPath, from: &LibraryPath, to: &LibraryPath) -> Option<LibraryPath> {
    if path == from {
        Some(to.clone())
    } else {
        rebased(path, from, to)
    }
}

#[cfg(test)]
mod tests;
