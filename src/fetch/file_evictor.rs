//! Evicts one file: a backed-up photo becomes a placeholder.
//!
//! This is the only step in which the bytes of a photo leave this disk, so it trusts nothing that
//! it can check: the file is the one that the journal records, its bytes are read and hashed once
//! more, it is not open anywhere, and a receipt of the server for exactly these bytes is here. The
//! journal changes before the file does (and after the file when bytes come back), so that no crash
//! leaves a placeholder that the journal calls a photo.

use std::fs::File;
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;

use super::keep_reason::KeepReason;
use super::open_files::OpenFiles;
use crate::journal::{FileId, FileRecord, FileState, Journal, StateUpdate};
use crate::spool::{
    Access, Durability, Metadata, OpenOptions, Placeholder, Spool, SpoolError, WriteState,
    fingerprint_of, is_open_elsewhere, reopen_to_fill,
};

const READ_WRITE: OpenOptions = OpenOptions {
    access: Access::ReadWrite,
    durability: Durability::Lazy,
};

/// Evicts single files.
#[derive(Debug)]
pub(super) struct FileEvictor {
    spool: Spool,
    journal: Arc<Journal>,
    open_files: Arc<OpenFiles>,
    /// Size of the head, which stays here, in bytes.
    head_bytes: u64,
}

impl FileEvictor {
    pub(super) const fn new(
        spool: Spool,
        journal: Arc<Journal>,
        open_files: Arc<OpenFiles>,
        head_bytes: u64,
    ) -> Self {
        Self {
            spool,
            journal,
            open_files,
            head_bytes,
        }
    }

    /// Evicts a file and returns how many bytes the disk got back. `record` is the file's record in
    /// the journal. Reads the whole file, and blocks on the disk.
    pub(super) fn evict(&self, id: FileId, record: &FileRecord) -> Result<u64, KeepReason> {
        let fingerprint = self.confirmed_fingerprint(record)?;
        if record.stamp.size <= self.head_bytes {
            return Err(KeepReason::TooSmall);
        }
        if self.spool.is_pinned(&record.path)? {
            return Err(KeepReason::Pinned);
        }
        let failed =
            |source| KeepReason::Disk(SpoolError::of("free the space of", &record.path, source));
        let read = self.spool.open_read(&record.path)?;
        let before = self.check_content(&read, id, record, fingerprint)?;
        let file = reopen_to_fill(&read, READ_WRITE).map_err(failed)?;
        // Closed, because an open descriptor of ours would look like another program's.
        drop(read);
        let _evicting = self.open_files.begin_evict(id).ok_or(KeepReason::InUse)?;
        // A file that the kernel serves without us may be closed and still mapped by a program.
        if is_open_elsewhere(&file).map_err(failed)? {
            return Err(KeepReason::InUse);
        }
        let now = Metadata::of(&file).map_err(failed)?;
        if (now.stamp(), now.changed) != (before.stamp(), before.changed) {
            return Err(KeepReason::Changed);
        }
        self.record_placeholder(id, record, fingerprint)?;
        heirloom_crash::reached(CrashPoint::EvictionRecorded);
        Placeholder::evict_data(&file, fingerprint, self.head_bytes).map_err(failed)?;
        let after = Metadata::of(&file).map_err(failed)?;
        tracing::info!(file = id.0, %fingerprint, "evicted");
        Ok(before.blocks.saturating_sub(after.blocks) * 512)
    }

    /// The fingerprint of a backed-up file, if there is a receipt for its bytes.
    fn confirmed_fingerprint(&self, record: &FileRecord) -> Result<Fingerprint, KeepReason> {
        let fingerprint = match &record.state {
            FileState::BackedUp { fingerprint } => *fingerprint,
            FileState::Placeholder { .. } => return Err(KeepReason::AlreadyEvicted),
            FileState::Pending { .. } | FileState::Local { .. } | FileState::Failed { .. } => {
                return Err(KeepReason::NotBackedUp);
            }
        };
        let receipt = self.journal.receipt(fingerprint)?;
        if receipt.is_some_and(|receipt| receipt.size == record.stamp.size) {
            Ok(fingerprint)
        } else {
            Err(KeepReason::Unconfirmed)
        }
    }

    /// Checks that the file is the one of the record, is complete, and has the content that was
    /// backed up.
    fn check_content(
        &self,
        file: &File,
        id: FileId,
        record: &FileRecord,
        fingerprint: Fingerprint,
    ) -> Result<Metadata, KeepReason> {
        let failed = |source| KeepReason::Disk(SpoolError::of("read", &record.path, source));
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

    fn record_placeholder(
        &self,
        id: FileId,
        record: &FileRecord,
        fingerprint: Fingerprint,
    ) -> Result<(), KeepReason> {
        let updated = self.journal.update_state(vec![StateUpdate {
            id,
            stamp: record.stamp,
            from: FileState::BackedUp { fingerprint },
            to: FileState::Placeholder { fingerprint },
        }])?;
        if updated == [true] {
            Ok(())
        } else {
            Err(KeepReason::NotBackedUp)
        }
    }
}
