//! The ledger: what a batch of changes does to a library, decided in memory.
//!
//! It is opened with what stands at the paths that the batch names and with the images of the batch
//! that the user holds. It knows no SQL; what it changed is written afterwards.

use std::collections::{BTreeSet, HashMap};

use heirloom_protocol::message::{LibraryChange, LibraryOutcome, LibraryPhoto};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath};

/// The answer to whoever may only add.
const TOO_NARROW: LibraryOutcome = LibraryOutcome::Refused {
    code: ErrorCode::ScopeTooNarrow,
};

/// What is known of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// When it last changed, in the user's count.
    pub(super) version: u64,
    /// What stands there; nothing if it was removed or moved away.
    pub(super) photo: Option<LibraryPhoto>,
}

/// A photo that no longer stands in the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trashed {
    pub(super) path: LibraryPath,
    pub(super) version: u64,
    pub(super) photo: LibraryPhoto,
}

/// What changes may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leave {
    /// Anything: what is lost goes to the trash.
    #[default]
    Anything,
    /// Put photos where none stands. Nothing that stands is replaced, moved or removed.
    Add,
}

/// A part of a user's library while changes are carried out.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The user's count of changes.
    pub(super) version: u64,
    /// What the changes may do.
    pub(super) leave: Leave,
    /// What is known of the paths that the batch names.
    pub(super) places: HashMap<LibraryPath, Place>,
    /// The lengths of those images of the batch that the user holds.
    pub(super) held: HashMap<Fingerprint, u64>,
    /// Paths that have changed.
    pub(super) changed: BTreeSet<LibraryPath>,
    /// Photos that go to the trash.
    pub(super) trash: Vec<Trashed>,
}

impl Ledger {
    /// Carries out one change, or says why not.
    pub(super) fn carry_out(&mut self, change: &LibraryChange) -> LibraryOutcome {
        match change {
            LibraryChange::Put {
                path,
                fingerprint,
                mtime_ns,
                base,
            } => self.put(path, *fingerprint, *mtime_ns, *base),
            LibraryChange::Move { .. } | LibraryChange::Remove { .. }
                if self.leave == Leave::Add =>
            {
                TOO_NARROW
            }
            LibraryChange::Move { from, to, base } => self.relocate(from, to, *base),
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
        match self.standing(path) {
            Some((version, there)) if there == photo => LibraryOutcome::Applied { version },
            // The same content with another time loses nothing: no conflict, whatever the sender
            // knew.
            Some((_, there)) if there.fingerprint == fingerprint => self.place(path, Some(photo)),
            Some(_) if self.leave == Leave::Add => TOO_NARROW,
            _ if !self.knew(path, base) => self.conflict(path),
            _ => self.place(path, Some(photo)),
        }
    }

    fn relocate(&mut self, from: &LibraryPath, to: &LibraryPath, base: u64) -> LibraryOutcome {
        let Some((version, photo)) = self.standing(from) else {
            return self.moved_before(from, to);
        };
        if version != base {
            return LibraryOutcome::Conflict { current: version };
        }
        if from == to {
            return LibraryOutcome::Applied { version };
        }
        self.record(from, None);
        self.place(to, Some(photo))
    }

    /// A move gives its two paths versions that follow each other: so it is known again when it is
    /// sent twice.
    fn moved_before(&self, from: &LibraryPath, to: &LibraryPath) -> LibraryOutcome {
        let left = self.places.get(from).map(|place| place.version);
        match (left, self.standing(to)) {
            (Some(left), Some((version, _))) if left + 1 == version => {
                LibraryOutcome::Applied { version }
            }
            _ => LibraryOutcome::Conflict { current: 0 },
        }
    }

    fn remove(&mut self, path: &LibraryPath, base: u64) -> LibraryOutcome {
        match self.standing(path) {
            None => LibraryOutcome::Applied {
                version: self.places.get(path).map_or(0, |place| place.version),
            },
            Some((version, _)) if version != base => LibraryOutcome::Conflict { current: version },
            Some(_) => self.place(path, None),
        }
    }

    /// What stands at a path, and since which version.
    fn standing(&self, path: &LibraryPath) -> Option<(u64, LibraryPhoto)> {
        let place = self.places.get(path)?;
        place.photo.map(|photo| (place.version, photo))
    }

    /// Whether `base` is what stands at a path. For a path that was cleared, its last version says
    /// as much as 0.
    fn knew(&self, path: &LibraryPath, base: u64) -> bool {
        match self.places.get(path) {
            None => base == 0,
            Some(Place {
                version,
                photo: None,
            }) => base == 0 || base == *version,
            Some(Place {
                version,
                photo: Some(_),
            }) => base == *version,
        }
    }

    fn conflict(&self, path: &LibraryPath) -> LibraryOutcome {
        LibraryOutcome::Conflict {
            current: self.standing(path).map_or(0, |(version, _)| version),
        }
    }

    /// Sets what stands at a path; what stood there goes to the trash, unless the same content
    /// takes its place.
    fn place(&mut self, path: &LibraryPath, photo: Option<LibraryPhoto>) -> LibraryOutcome {
        if let Some((version, lost)) = self.standing(path)
            && photo.is_none_or(|photo| photo.fingerprint != lost.fingerprint)
        {
            self.trash.push(Trashed {
                path: path.clone(),
                version,
                photo: lost,
            });
        }
        self.record(path, photo)
    }

    fn record(&mut self, path: &LibraryPath, photo: Option<LibraryPhoto>) -> LibraryOutcome {
        self.version += 1;
        self.places.insert(
            path.clone(),
            Place {
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
