//! The tables open for writing, and the changes that one transaction may make.
//!
//! Each change reads all records that it needs before it writes: one that meets a record that it
//! cannot read ends without having changed anything, and the rest of its group is committed.

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};
use redb::{ReadableTable as _, Table, TableError, WriteTransaction};

use super::entry::{
    FileId, FileRecord, FileState, FinishedUpload, NameChange, StateUpdate, UploadOutcome,
};
use super::error::QueryError;
use super::queries;
use super::record::{self, RecordError, StoredFile};
use super::schema::{
    CONFIRMED_VERSIONS, COUNTED_FILES_KEY, COUNTERS, FAILED, FILES, FingerprintKey, OUTBOX, QUEUE,
    RECEIPTS, RecordBytes, SERVER_BINDING, SHARDS, STORED_COUNTS,
};
use super::tally::{Counts, Exactness};

mod names;

/// The tables, open for writing. Every change is undone unless the transaction commits.
pub(super) struct Tables<'tx> {
    files: Table<'tx, u64, RecordBytes>,
    queue: Table<'tx, u64, u64>,
    failed: Table<'tx, u64, ()>,
    receipts: Table<'tx, FingerprintKey, RecordBytes>,
    shards: Table<'tx, FingerprintKey, RecordBytes>,
    names: Table<'tx, u64, RecordBytes>,
    versions: Table<'tx, &'static str, u64>,
    counters: Table<'tx, &'static str, u64>,
    bound: Table<'tx, &'static str, &'static str>,
    counted: Table<'tx, &'static str, RecordBytes>,
    /// The counts that hold when the transaction is committed.
    pub(super) counts: Counts,
}

impl<'tx> Tables<'tx> {
    pub(super) fn open(
        transaction: &'tx WriteTransaction,
        counts: Counts,
    ) -> Result<Self, TableError> {
        Ok(Self {
            files: transaction.open_table(FILES)?,
            queue: transaction.open_table(QUEUE)?,
            failed: transaction.open_table(FAILED)?,
            receipts: transaction.open_table(RECEIPTS)?,
            shards: transaction.open_table(SHARDS)?,
            names: transaction.open_table(OUTBOX)?,
            versions: transaction.open_table(CONFIRMED_VERSIONS)?,
            counters: transaction.open_table(COUNTERS)?,
            bound: transaction.open_table(SERVER_BINDING)?,
            counted: transaction.open_table(STORED_COUNTS)?,
            counts,
        })
    }

    /// Stores the counts, before the commit that makes them true.
    pub(super) fn store_counts(&mut self) -> Result<(), redb::Error> {
        match self.counts.exactness {
            Exactness::Exact => self.counted.insert(
                COUNTED_FILES_KEY,
                record::encode_tally(&self.counts.tally).as_slice(),
            )?,
            Exactness::Uncertain => self.counted.remove(COUNTED_FILES_KEY)?,
        };
        Ok(())
    }

    /// Replaces the record of a file. A pending one goes to the newest end of the queue.
    pub(super) fn record(&mut self, id: FileId, file: &FileRecord) -> Result<(), QueryError> {
        let mut position = 0;
        if matches!(file.state, FileState::Pending { .. }) {
            position = self
                .queue
                .last()?
                .map_or(0, |(newest, _)| newest.value() + 1);
            self.queue.insert(position, id.0)?;
        }
        let replaced = self
            .files
            .insert(id.0, record::encode_file(file, position).as_slice())?;
        let replaced = replaced.map(|bytes| record::decode_file(bytes.value()));
        self.counts.tally.add(file);
        self.clean_up(id, replaced)?;
        if matches!(file.state, FileState::Failed { .. }) {
            self.failed.insert(id.0, ())?;
        }
        Ok(())
    }

    /// Removes the record of a file, and its position in the queue.
    pub(super) fn forget(&mut self, id: FileId) -> Result<(), QueryError> {
        let removed = self.files.remove(id.0)?;
        let removed = removed.map(|bytes| record::decode_file(bytes.value()));
        self.clean_up(id, removed)
    }

    /// Removes what belonged to a record that was removed: count, entry of a failed file, position
    /// in the queue. For a record that could not be read the count is unknown; the position that it
    /// may have left is ignored by `queries::pending`.
    fn clean_up(
        &mut self,
        id: FileId,
        removed: Option<Result<StoredFile, RecordError>>,
    ) -> Result<(), QueryError> {
        let StoredFile {
            record,
            queue_position,
        } = match removed {
            None => return Ok(()),
            Some(Ok(stored)) => stored,
            Some(Err(_unreadable)) => {
                self.counts.exactness = Exactness::Uncertain;
                return Ok(());
            }
        };
        self.counts.tally.subtract(&record);
        if matches!(record.state, FileState::Failed { .. }) {
            self.failed.remove(id.0)?;
        }
        if let Some(position) = queue_position {
            self.queue.remove(position)?;
        }
        Ok(())
    }

    /// Gives a file another path. A file without a record stays without one: the intake will record
    /// it when it finds it.
    pub(super) fn rename(&mut self, id: FileId, to: &LibraryPath) -> Result<(), QueryError> {
        let Some(StoredFile {
            record,
            queue_position,
        }) = queries::file(&self.files, id)?
        else {
            return Ok(());
        };
        let renamed = FileRecord {
            path: to.clone(),
            ..record
        };
        self.files.insert(
            id.0,
            record::encode_file(&renamed, queue_position.unwrap_or_default()).as_slice(),
        )?;
        Ok(())
    }

    /// Changes the state of a file, if it is still the expected one. Returns whether it was.
    pub(super) fn update_state(&mut self, update: &StateUpdate) -> Result<bool, QueryError> {
        let StateUpdate {
            id,
            stamp,
            from,
            to,
        } = update;
        let found = match queries::file(&self.files, *id) {
            Err(QueryError::Record { .. }) => None,
            found => found?.map(|it| it.record),
        };
        let Some(file) = found.filter(|file| file.stamp == *stamp && file.state == *from) else {
            return Ok(false);
        };
        self.record(
            *id,
            &FileRecord {
                state: to.clone(),
                ..file
            },
        )?;
        Ok(true)
    }

    /// Records the outcome of an upload. Returns whether the file was still the one uploaded.
    pub(super) fn finish_upload(&mut self, finished: &FinishedUpload) -> Result<bool, QueryError> {
        if let UploadOutcome::BackedUp { receipt } = &finished.outcome {
            self.add_receipt(receipt)?;
        }
        let Some(file) = self.uploaded_file(finished)? else {
            return Ok(false);
        };
        let fingerprint = finished.fingerprint;
        let state = match &finished.outcome {
            UploadOutcome::BackedUp { .. } => {
                let mtime_ns = file.stamp.mtime_ns;
                self.queue_name(&NameChange::Put {
                    path: file.path.clone(),
                    fingerprint,
                    mtime_ns,
                })?;
                FileState::BackedUp { fingerprint }
            }
            UploadOutcome::Failed { why } => FileState::Failed {
                fingerprint: Some(fingerprint),
                why: why.clone(),
            },
        };
        self.record(finished.id, &FileRecord { state, ..file })?;
        Ok(true)
    }

    /// The record of an uploaded file, if it still has the same content and is pending.
    fn uploaded_file(&self, finished: &FinishedUpload) -> Result<Option<FileRecord>, QueryError> {
        let found = match queries::file(&self.files, finished.id) {
            // Not the record of the uploaded file, whatever it is.
            Err(QueryError::Record { .. }) => None,
            found => found?,
        };
        let expected = FileState::Pending {
            fingerprint: finished.fingerprint,
        };
        Ok(found
            .map(|it| it.record)
            .filter(|it| it.stamp == finished.stamp && it.state == expected))
    }

    pub(super) fn add_receipt(&mut self, receipt: &Receipt) -> Result<(), QueryError> {
        let key = receipt.fingerprint.as_bytes();
        let known = queries::receipt(&self.receipts, receipt.fingerprint)
            .ok()
            .flatten();
        // A check repeats receipts without their signatures: a signed one is worth keeping.
        let repeated = known.is_some_and(|known| {
            Receipt {
                signature: None,
                ..known
            } == *receipt
        });
        if repeated {
            self.shards.remove(key)?;
            return Ok(());
        }
        self.receipts
            .insert(key, record::encode_receipt(receipt).as_slice())?;
        self.shards.remove(key)?;
        Ok(())
    }

    pub(super) fn forget_receipt(&mut self, fingerprint: Fingerprint) -> Result<(), QueryError> {
        self.receipts.remove(fingerprint.as_bytes())?;
        Ok(())
    }

    /// Adds an acknowledged range, unless the image has a receipt: the last acknowledgements may
    /// come after it, and nobody would remove the list.
    pub(super) fn add_shard(
        &mut self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<(), QueryError> {
        if self.receipts.get(fingerprint.as_bytes())?.is_some() {
            return Ok(());
        }
        let mut ranges = queries::shards(&self.shards, fingerprint)?;
        ranges.insert(range);
        self.replace_shards(fingerprint, &ranges)
    }

    pub(super) fn replace_shards(
        &mut self,
        fingerprint: Fingerprint,
        ranges: &RangeSet,
    ) -> Result<(), QueryError> {
        let key = fingerprint.as_bytes();
        if ranges.is_empty() {
            self.shards.remove(key)?;
        } else {
            self.shards
                .insert(key, record::encode_shards(ranges).as_slice())?;
        }
        Ok(())
    }

    /// Makes the stored counts wrong, as a program may that does not know them.
    #[cfg(test)]
    pub(super) fn miscount(&mut self) {
        self.counts.tally.pending.files -= 1;
    }

    /// Writes a record of an unknown version, as a newer program may.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, id: FileId) -> Result<(), redb::Error> {
        self.files.insert(id.0, [99].as_slice())?;
        Ok(())
    }
}
