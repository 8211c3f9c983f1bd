//! Whether the kernel's cached listing of a folder is current.
//!
//! The kernel drops its listing when a program changes the folder through the mount. A change behind
//! its back (a file from another device, or one put into the spool directly) shows in the folder's
//! modification time on the disk, which is checked whenever the folder is opened.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::journal::FileId;
use crate::mount::types::system_time;
use crate::spool::Timespec;

/// A folder that changed more recently than this may change again without a new time: disks keep
/// times in steps of some milliseconds.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Folders whose time is kept, about 3 MB; above that all are forgotten, and listed again.
const FOLDERS_MAX: usize = 65_536;

/// The state of the kernel's cached listing of a folder, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mount) enum DirCacheState {
    /// Names may have been added or removed since.
    Outdated,
    /// A new listing would be the same.
    Current,
}

/// The modification time of each folder when it was last listed.
#[derive(Debug, Default)]
pub(super) struct DirCache(Mutex<HashMap<FileId, Timespec>>);

impl DirCache {
    /// The state of a listing made since the folder was last opened. The folder is opened at `now`,
    /// and was last changed at `changed`.
    pub(super) fn opened(&self, id: FileId, changed: Timespec, now: SystemTime) -> DirCacheState {
        let mut listed = self.0.lock();
        if listed.get(&id) == Some(&changed) {
            return DirCacheState::Current;
        }
        if is_settled(changed, now) {
            if listed.len() >= FOLDERS_MAX {
                *listed = HashMap::new();
            }
            listed.insert(id, changed);
        } else {
            listed.remove(&id);
        }
        DirCacheState::Outdated
    }
}

/// A time in the future is never settled.
fn is_settled(changed: Timespec, now: SystemTime) -> bool {
    now.duration_since(system_time(changed))
        .is_ok_and(|age| age > SETTLED_AFTER)
}

#[cfg(test)]
mod tests {
    use super::DirCacheState::{Current, Outdated};
    use super::*;

    const FOLDER: FileId = FileId(7);

    fn at(seconds: i64, nanoseconds: u32) -> (Timespec, SystemTime) {
        let moment = Timespec {
            seconds,
            nanoseconds,
        };
        (moment, system_time(moment))
    }

    #[test]
    fn a_listing_is_current_until_the_folder_changes() {
        let cache = DirCache::default();
        let ((changed, _), (later, _), (_, now)) = (at(1, 0), at(3, 0), at(5, 0));
        assert_eq!(
            cache.opened(FOLDER, changed, now),
            Outdated,
            "what the kernel has from before is unknown"
        );
        assert_eq!(cache.opened(FOLDER, changed, now), Current);
        assert_eq!(cache.opened(FileId(8), changed, now), Outdated);
        assert_eq!(cache.opened(FOLDER, later, now), Outdated);
        assert_eq!(cache.opened(FOLDER, later, now), Current);
    }

    #[test]
    fn a_folder_that_is_still_being_filled_is_listed_again() {
        let cache = DirCache::default();
        let (changed, _) = at(5, 0);
        for (moment, now) in [at(4, 999_999_999), at(5, 0), at(6, 0)] {
            assert_eq!(cache.opened(FOLDER, changed, now), Outdated, "{moment:?}");
        }
        assert_eq!(cache.opened(FOLDER, changed, at(6, 1).1), Outdated);
        assert_eq!(cache.opened(FOLDER, changed, at(6, 2).1), Current);
    }
}
