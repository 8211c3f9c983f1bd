//! *The comparison* of tree and journal, in the background after each start, and whenever notes had
//! to be dropped: whatever happened while nobody watched (a crash, a deleted journal, a file
//! manager in the spool) is found by it.
//!
//! Files that are gone are forgotten here and never removed from the library: a spool that was
//! lost, or a disk that was not mounted, must not empty it. Only a removal seen through the mount
//! does that.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use heirloom_protocol::LibraryPath;

use super::desk::{Comparison, Telling};
use super::inside::Inside;
use super::kind::{Left, still_left};
use super::lack::Lack;
use super::name::left_alone;
use super::notes::{Noting, Origin};
use crate::config::Accept;
use crate::journal::{FileId, FileRecord, FileState, JournalError, Stamp};
use crate::spool::{SpoolError, SpoolPath};

/// After the journal could not be read, the comparison begins again so much later.
const RETRY: Duration = Duration::from_secs(5);

/// So many records are read at a time when looking for those whose file is gone.
const PAGE: usize = 1024;

/// How far a comparison came.
#[derive(Debug, PartialEq, Eq)]
enum Walked {
    All,
    /// The work ends.
    BrokenOff,
}

impl Inside {
    /// The comparing thread's life.
    pub(super) fn compare_when_wanted(&self) {
        while self.desk.begin_comparison() {
            match self.compare() {
                Ok(Walked::All) => {
                    tracing::info!("tree and journal are compared");
                    self.desk.end_comparison(Comparison::Done);
                }
                Ok(Walked::BrokenOff) => return,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "tree and journal could not be compared"
                    );
                    self.desk.end_comparison(Comparison::Again);
                    self.desk.pause(RETRY);
                }
            }
        }
    }

    fn compare(&self) -> Result<Walked, JournalError> {
        // Eight bytes a file: 8 MB for a million. A bitmap would be smaller for some disks and far
        // larger for others, whose inode numbers are spread over 64 bits (btrfs, XFS); a hash set
        // would take three times as much.
        let mut met = Vec::new();
        let mut outcome = Ok(Walked::All);
        self.spool.walk_below(SpoolPath::Root, &mut |step| {
            let next = match step {
                Ok((path, id, stamp)) => {
                    met.push(id);
                    self.compare_file(&path, id, stamp)
                }
                Err(error) => {
                    report_unread(&error);
                    Ok(ControlFlow::Continue(()))
                }
            };
            match next {
                Ok(ControlFlow::Continue(())) if !self.desk.is_ending() => {
                    return ControlFlow::Continue(());
                }
                Ok(_) => outcome = Ok(Walked::BrokenOff),
                Err(error) => outcome = Err(error),
            }
            ControlFlow::Break(())
        });
        if outcome? == Walked::BrokenOff {
            return Ok(Walked::BrokenOff);
        }
        met.sort_unstable();
        self.forget_missing(&met)
    }

    fn compare_file(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
    ) -> Result<ControlFlow<()>, JournalError> {
        let known = self.known(id)?;
        match known {
            Some(record) if record.stamp == stamp && self.is_still_true(path, &record) => {
                if record.path == *path {
                    return Ok(ControlFlow::Continue(()));
                }
                let telling = Telling::Found {
                    id,
                    path: path.clone(),
                };
                self.desk.tell(telling, |_, _| Noting::Noted);
            }
            other => {
                let is_shorter = other
                    .and_then(|record| promised_bytes(&record))
                    .is_some_and(|bytes| stamp.size < bytes);
                let origin = if is_shorter {
                    Origin::MetShorter
                } else {
                    Origin::Met
                };
                self.desk
                    .note(|notes, now| notes.find(id, path, origin, now));
            }
        }
        Ok(if self.desk.wait_for_room() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    }

    /// Whether what the journal says of a file with this stamp needs no look. A placeholder that a
    /// crash kept from becoming one, or from becoming whole, has the stamp of both.
    fn is_still_true(&self, path: &LibraryPath, record: &FileRecord) -> bool {
        match &record.state {
            FileState::Placeholder { fingerprint } => match self.spool.placeholder(path) {
                Ok(found) => found.is_some_and(|found| found.fingerprint == *fingerprint),
                Err(_) => false,
            },
            FileState::Pending { .. }
            | FileState::BackedUp { .. }
            | FileState::Local { .. }
            | FileState::Failed { .. } => is_settled(self.accept, record),
        }
    }

    /// Forgets the records of files that were not met, and are not where the journal has them.
    fn forget_missing(&self, met: &[FileId]) -> Result<Walked, JournalError> {
        let mut after = None;
        loop {
            let page = self.journal.files_after(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(Walked::All);
            };
            after = Some(*last);
            let missing: HashSet<FileId> = page
                .iter()
                .map(|(id, _)| *id)
                .filter(|id| met.binary_search(id).is_err())
                .collect();
            if !missing.is_empty() {
                self.forget_unless_found(missing)?;
            }
            if self.desk.is_ending() {
                return Ok(Walked::BrokenOff);
            }
        }
    }

    /// A file may have come, or been renamed, since the walk: the journal's name for it decides,
    /// once all names are followed.
    pub(super) fn forget_unless_found(&self, missing: HashSet<FileId>) -> Result<(), JournalError> {
        let mut ledger = self.ledger();
        self.catch_up(&mut ledger)?;
        let mut gone = Vec::new();
        for id in missing {
            if let Some(record) = self.known(id)?
                && self.is_gone(id, &record)
            {
                gone.push(id);
            }
        }
        if gone.is_empty() {
            Ok(())
        } else {
            self.journal.forget(gone)
        }
    }

    /// A folder that cannot be read at the moment takes no file with it.
    fn is_gone(&self, id: FileId, record: &FileRecord) -> bool {
        match self.spool.metadata(&SpoolPath::Entry(record.path.clone())) {
            Ok(facts) => facts.id != id,
            Err(error) => error.is_missing(),
        }
    }
}

fn report_unread(error: &SpoolError) {
    if !error.is_missing() {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "part of the tree could not be read"
        );
    }
}

/// The length of a photo that was whole once, in bytes.
fn promised_bytes(record: &FileRecord) -> Option<u64> {
    match record.state {
        FileState::Pending { .. } | FileState::BackedUp { .. } | FileState::Placeholder { .. } => {
            Some(record.stamp.size)
        }
        FileState::Local { .. } | FileState::Failed { .. } => None,
    }
}

/// Whether a file that is as it was when this was written need not be looked at again.
fn is_settled(accept: Accept, record: &FileRecord) -> bool {
    match &record.state {
        FileState::Pending { .. } | FileState::BackedUp { .. } => {
            left_alone(&record.path).is_none()
        }
        FileState::Placeholder { .. } => true,
        // By its words: what is accepted may have changed, and so may this program.
        FileState::Local { why } => {
            Left::said(why).is_some_and(|left| match left_alone(&record.path) {
                Some(by_name) => by_name == left,
                None => still_left(accept, left),
            })
        }
        // What could not be read may be readable now. What could not be stored is not sound for
        // being readable. And what is shorter than it was has not grown.
        FileState::Failed { fingerprint, why } => {
            fingerprint.is_some() || Lack::said(why) == Some(Lack::Shorter)
        }
    }
}
