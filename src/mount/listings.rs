//! Listings: whether a list of names that the kernel keeps is still right.
//!
//! The kernel drops its list of a folder when a program changes the folder through the mount. What
//! changes behind its back (names of other devices, a file put into the spool) shows in the
//! folder's own time on the disk, which is looked at whenever the folder is opened.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::locked;
use super::shape::time;
use crate::journal::FileId;
use crate::spool::Timespec;

/// A folder that changed within this time may change again without another time: disks keep it in
/// steps of some milliseconds.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Of so many folders the time is kept, some 3 MB; then all are forgotten, and listed again.
const FOLDERS_MAX: usize = 65_536;

/// What the kernel's list of a folder is worth, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KernelsList {
    /// Names came or went since it was made, or may have.
    Outdated,
    /// It is what we would answer.
    Current,
}

/// When each listed folder had last changed.
#[derive(Debug, Default)]
pub(super) struct Listings(Mutex<HashMap<FileId, Timespec>>);

impl Listings {
    /// A folder is opened at `now`, and changed last at `changed`: what a list is worth that was
    /// made since it was opened before.
    pub(super) fn opened(&self, id: FileId, changed: Timespec, now: SystemTime) -> KernelsList {
        let mut listed = locked(&self.0);
        if listed.get(&id) == Some(&changed) {
            return KernelsList::Current;
        }
        if is_settled(changed, now) {
            if listed.len() >= FOLDERS_MAX {
                *listed = HashMap::new();
            }
            listed.insert(id, changed);
        } else {
            listed.remove(&id);
        }
        KernelsList::Outdated
    }
}

/// A time that is still to come never is.
fn is_settled(changed: Timespec, now: SystemTime) -> bool {
    now.duration_since(time(changed))
        .is_ok_and(|age| age > SETTLED_AFTER)
}

#[cfg(test)]
mod tests {
    use super::KernelsList::{Current, Outdated};
    use super::*;

    const FOLDER: FileId = FileId(7);

    fn at(seconds: i64, nanoseconds: u32) -> (Timespec, SystemTime) {
        let moment = Timespec {
            seconds,
            nanoseconds,
        };
        (moment, time(moment))
    }

    #[test]
    fn a_list_is_right_until_the_folder_changes() {
        let listings = Listings::default();
        let ((changed, _), (later, _), (_, now)) = (at(1, 0), at(3, 0), at(5, 0));
        assert_eq!(
            listings.opened(FOLDER, changed, now),
            Outdated,
            "nobody knows what the kernel has from before"
        );
        assert_eq!(listings.opened(FOLDER, changed, now), Current);
        assert_eq!(listings.opened(FileId(8), changed, now), Outdated);
        assert_eq!(listings.opened(FOLDER, later, now), Outdated);
        assert_eq!(listings.opened(FOLDER, later, now), Current);
    }

    #[test]
    fn a_folder_that_is_still_being_filled_is_listed_anew() {
        let listings = Listings::default();
        let (changed, _) = at(5, 0);
        for (moment, now) in [at(4, 999_999_999), at(5, 0), at(6, 0)] {
            assert_eq!(
                listings.opened(FOLDER, changed, now),
                Outdated,
                "{moment:?}"
            );
        }
        assert_eq!(listings.opened(FOLDER, changed, at(6, 1).1), Outdated);
        assert_eq!(listings.opened(FOLDER, changed, at(6, 2).1), Current);
    }
}
