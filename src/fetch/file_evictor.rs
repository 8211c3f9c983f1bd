//! *Giving room up*: a photo that the server has becomes a placeholder.
//!
//! The one step in which bytes of a photo leave this disk, so it believes nothing it can look at:
//! the file is what the journal speaks of, its bytes are read and hashed once more, nobody has it
//! open, and the server's word for exactly these bytes is at hand. What the journal says changes
//! before the file does, and back after it, so that no crash leaves a placeholder that is known as
//! a photo.

use std::fs::File;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;

use super::{Fetcher, Inside};
use crate::journal::{FileId, FileRecord, FileState, JournalError, StateUpdate};
use crate::spool::{
    Access, Durability, Metadata, OpenOptions, Placeholder, SpoolError, WriteState, fingerprint_of,
    is_open_elsewhere, reopen_to_fill,
};

/// Why a photo keeps its room. The text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum KeepReason {
    /// The server has not vouched for it.
    #[error("it is not backed up")]
    NotBackedUp,
    /// Its bytes are not here as it is.
    #[error("its bytes are only on the server already")]
    AlreadyEvicted,
    /// The server does not say, now, that it holds exactly these bytes.
    #[error("the server does not confirm that it has it")]
    Unconfirmed,
    /// Its owner wants it here.
    #[error("it is pinned")]
    Pinned,
    /// Somebody reads or writes it, or it is on its way back.
    #[error("it is in use")]
    InUse,
    /// All of it would be kept as a head.
    #[error("it is too small to gain anything")]
    Small,
    /// It is not what was backed up any more.
    #[error("it has changed since it was backed up")]
    Changed,
    /// The disk did not do it.
    #[error("its disk refuses")]
    Disk(#[from] SpoolError),
    /// The journal did not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Fetcher {
    /// Gives the room of one photo back; answers how many bytes that was. `record` is what the
    /// journal says of it. Reads the whole file, and blocks on the disk.
    pub fn hollow_out(&self, id: FileId, record: &FileRecord) -> Result<u64, KeepReason> {
        self.inside.hollow_out(id, record)
    }
}

impl Inside {
    pub(super) fn hollow_out(&self, id: FileId, record: &FileRecord) -> Result<u64, KeepReason> {
        let fingerprint = self.vouched_for(record)?;
        if record.stamp.size <= self.manner.head_bytes {
            return Err(KeepReason::Small);
        }
        if self.spool.is_pinned(&record.path)? {
            return Err(KeepReason::Pinned);
        }
        let failed =
            |source| KeepReason::Disk(SpoolError::of("give up the room of", &record.path, source));
        let read = self.spool.open_read(&record.path)?;
        let before = self.is_what_was_backed_up(&read, id, record, fingerprint)?;
        let file = reopen_to_fill(&read, TO_FILL).map_err(failed)?;
        // One that was kept would look like somebody else's.
        drop(read);
        let _alone = self.desk.hollow(id).ok_or(KeepReason::InUse)?;
        // What a program has mapped is not open any more where the kernel reads it without us.
        if is_open_elsewhere(&file).map_err(failed)? {
            return Err(KeepReason::InUse);
        }
        let now = Metadata::of(&file).map_err(failed)?;
        if (now.stamp(), now.changed) != (before.stamp(), before.changed) {
            return Err(KeepReason::Changed);
        }
        self.restate(id, record, fingerprint)?;
        heirloom_crash::reached(CrashPoint::EvictionRecorded);
        Placeholder::evict_data(&file, fingerprint, self.manner.head_bytes).map_err(failed)?;
        let after = Metadata::of(&file).map_err(failed)?;
        tracing::info!(file = id.0, %fingerprint, "its bytes are only on the server now");
        Ok(before.blocks.saturating_sub(after.blocks) * 512)
    }

    /// The image that the server has vouched for, by the sync list.
    fn vouched_for(&self, record: &FileRecord) -> Result<Fingerprint, KeepReason> {
        let fingerprint = match &record.state {
            FileState::BackedUp { fingerprint } => *fingerprint,
            FileState::Placeholder { .. } => return Err(KeepReason::AlreadyEvicted),
            FileState::Pending { .. } | FileState::Local { .. } | FileState::Failed { .. } => {
                return Err(KeepReason::NotBackedUp);
            }
        };
        let receipt = self.journal.receipt(fingerprint)?;
        let vouched = receipt.is_some_and(|receipt| receipt.size == record.stamp.size);
        if vouched {
            Ok(fingerprint)
        } else {
            Err(KeepReason::Unconfirmed)
        }
    }

    fn is_what_was_backed_up(
        &self,
        file: &File,
        id: FileId,
        record: &FileRecord,
        fingerprint: Fingerprint,
    ) -> Result<Metadata, KeepReason> {
        let failed = |source| KeepReason::Disk(SpoolError::of("look at", &record.path, source));
        let facts = Metadata::of(file).map_err(failed)?;
        if facts.id != id || facts.stamp() != record.stamp {
            return Err(KeepReason::Changed);
        }
        if Placeholder::of(file).map_err(failed)?.is_some() {
            return Err(KeepReason::AlreadyEvicted);
        }
        match self.spool.marker().write_state(file).map_err(failed)? {
            WriteState::Complete if fingerprint_of(file).map_err(failed)? == fingerprint => {
                Ok(facts)
            }
            WriteState::InUse | WriteState::Mapped => Err(KeepReason::InUse),
            WriteState::Complete | WriteState::Unfinished | WriteState::Unsynced => {
                Err(KeepReason::Changed)
            }
        }
    }

    /// From now on the journal says "placeholder".
    fn restate(
        &self,
        id: FileId,
        record: &FileRecord,
        fingerprint: Fingerprint,
    ) -> Result<(), KeepReason> {
        let (from, to) = (
            FileState::BackedUp { fingerprint },
            FileState::Placeholder { fingerprint },
        );
        let restated = self.journal.update_state(vec![StateUpdate {
            id,
            stamp: record.stamp,
            from,
            to,
        }])?;
        if restated == [true] {
            Ok(())
        } else {
            Err(KeepReason::NotBackedUp)
        }
    }
}

const TO_FILL: OpenOptions = OpenOptions {
    access: Access::ReadWrite,
    durability: Durability::Lazy,
};
