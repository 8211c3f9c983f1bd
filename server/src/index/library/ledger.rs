//! The ledger: decides in memory what a batch of changes does to a library.
//!
//! It is loaded with the states of the paths that the batch names and with the images of the batch
//! that the user holds. It knows no SQL; its result is saved afterwards.

use std::collections::{BTreeSet, HashMap};

use heirloom_protocol::message::{LibraryChange, LibraryOutcome, LibraryPhoto};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath};

/// The outcome for a caller who may only add photos.
const TOO_NARROW: LibraryOutcome = LibraryOutcome::Refused {
    code: ErrorCode::ScopeTooNarrow,
};

/// The state of a path that has, or once had, a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathState {
    /// The version of its last change.
    pub(super) version: u64,
    /// Its photo; `None` if it was removed or moved away.
    pub(super) photo: Option<LibraryPhoto>,
}

/// A photo that was removed from the library or overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrashedPhoto {
    /// Its path.
    pub(super) path: LibraryPath,
    /// The version that put it there.
    pub(super) version: u64,
    /// The photo.
    pub(super) photo: LibraryPhoto,
}

/// Which changes a caller may make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AllowedChanges {
    /// All changes; replaced and removed photos go to the trash.
    #[default]
    All,
    /// Putting photos at free paths. No photo is replaced, moved or removed.
    AddOnly,
}

/// The part of a user's library that a batch of changes concerns.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The user's count of changes.
    pub(super) version: u64,
    /// Which changes the caller may make.
    pub(super) allowed: AllowedChanges,
    /// The states of the paths that the batch names.
    pub(super) paths: HashMap<LibraryPath, PathState>,
    /// The lengths in bytes of the images of the batch that the user holds.
    pub(super) held: HashMap<Fingerprint, u64>,
    /// Paths that have changed.
    pub(super) changed: BTreeSet<LibraryPath>,
    /// Photos that go to the trash.
    pub(super) trash: Vec<TrashedPhoto>,
}

impl Ledger {
    /// Applies one change, or returns why not.
    pub(super) fn apply(&mut self, change: &LibraryChange) -> LibraryOutcome {
        match change {
            LibraryChange::Put {
                path,
                fingerprint,
                mtime_ns,
                base,
            } => self.put(path, *fingerprint, *mtime_ns, *base),
            LibraryChange::Move { .. } | LibraryChange::Remove { .. }
                if self.allowed == AllowedChanges::AddOnly =>
            {
                TOO_NARROW
            }
            LibraryChange::Move { from, to, base } => self.rename(from, to, *base),
            LibraryChange::Remove { path, base } => self.remove(path, *base),
        }
    }

    fn put(
        &mut self,
        path: &LibraryPath,
        fingerprint: Fingerprint,
        mtime_ns: i64,
        base: u64,
    ) -> LibraryOutcome {
        let Some(&size) = self.held.get(&fingerprint) else {
            return LibraryOutcome::Refused {
                code: ErrorCode::ImageNotHeld,
            };
        };
        let photo = LibraryPhoto {
            fingerprint,
            size,
            mtime_ns,
        };
        match self.current(path) {
            Some((version, present)) if present == photo => LibraryOutcome::Applied { version },
            // The same content with another time loses nothing: no conflict, whatever the change is
            // based on.
            Some((_, present)) if present.fingerprint == fingerprint => self.set(path, Some(photo)),
            Some(_) if self.allowed == AllowedChanges::AddOnly => TOO_NARROW,
            _ if !self.is_based_on_current(path, base) => self.conflict(path),
            _ => self.set(path, Some(photo)),
        }
    }

    fn rename(&mut self, from: &LibraryPath, to: &LibraryPath, base: u64) -> LibraryOutcome {
        let Some((version, photo)) = self.current(from) else {
            return self.repeated_move(from, to);
        };
        if version != base {
            return LibraryOutcome::Conflict { current: version };
        }
        if from == to {
            return LibraryOutcome::Applied { version };
        }
        self.record(from, None);
        self.set(to, Some(photo))
    }

    /// The outcome of a move from a path without a photo. A move gives its two paths consecutive
    /// versions, which identifies it when it is sent twice.
    fn repeated_move(&self, from: &LibraryPath, to: &LibraryPath) -> LibraryOutcome {
        let from_version = self.paths.get(from).map(|state| state.version);
        match (from_version, self.current(to)) {
            (Some(from_version), Some((version, _))) if from_version + 1 == version => {
                LibraryOutcome::Applied { version }
            }
            _ => LibraryOutcome::Conflict { current: 0 },
        }
    }

    fn remove(&mut self, path: &LibraryPath, base: u64) -> LibraryOutcome {
        match self.current(path) {
            None => LibraryOutcome::Applied {
                version: self.paths.get(path).map_or(0, |state| state.version),
            },
            Some((version, _)) if version != base => LibraryOutcome::Conflict { current: version },
            Some(_) => self.set(path, None),
        }
    }

    /// The photo at a path, with the version that put it there.
    fn current(&self, path: &LibraryPath) -> Option<(u64, LibraryPhoto)> {
        let state = self.paths.get(path)?;
        state.photo.map(|photo| (state.version, photo))
    }

    /// Whether a change with this `base` version knew the present state of the path. For a path
    /// whose photo was removed, both its last version and 0 do.
    fn is_based_on_current(&self, path: &LibraryPath, base: u64) -> bool {
        match self.paths.get(path) {
            None => base == 0,
            Some(PathState {
                version,
                photo: None,
            }) => base == 0 || base == *version,
            Some(PathState {
                version,
                photo: Some(_),
            }) => base == *version,
        }
    }

    /// The outcome for a change that did not know the present state of the path.
    fn conflict(&self, path: &LibraryPath) -> LibraryOutcome {
        LibraryOutcome::Conflict {
            current: self.current(path).map_or(0, |(version, _)| version),
        }
    }

    /// Sets or removes the photo at a path. The previous photo goes to the trash, unless the new
    /// one has the same content.
    fn set(&mut self, path: &LibraryPath, photo: Option<LibraryPhoto>) -> LibraryOutcome {
        if let Some((version, previous)) = self.current(path)
            && photo.is_none_or(|photo| photo.fingerprint != previous.fingerprint)
        {
            self.trash.push(TrashedPhoto {
                path: path.clone(),
                version,
                photo: previous,
            });
        }
        self.record(path, photo)
    }

    /// Gives a path a new state with the next version.
    fn record(&mut self, path: &LibraryPath, photo: Option<LibraryPhoto>) -> LibraryOutcome {
        self.version += 1;
        self.paths.insert(
            path.clone(),
            PathState {
                version: self.version,
                photo,
            },
        );
        self.changed.insert(path.clone());
        LibraryOutcome::Applied {
            version: self.version,
        }
    }
}

#[cfg(test)]
mod tests;
