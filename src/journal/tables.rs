//! The tables of the journal, and what one transaction may change in them.
//!
//! Each request reads all that it must understand before it writes: one that meets a record it
//! cannot read ends without having changed anything, and the rest of its group is committed.

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, Table, TableDefinition, TableError, TableHandle as _,
    WriteTransaction,
};

use super::entry::{
    FileId, FileRecord, FileState, FinishedUpload, NameChange, StateUpdate, UploadOutcome,
};
use super::error::Fault;
use super::look;
use super::record::{self, RecordError, StoredFile};
use super::tally::{Counts, Exactness};

/// File id -> what is known of it.
pub(super) const FILES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("files");
/// Place in the queue, ascending by age -> file id.
pub(super) const QUEUE: TableDefinition<'_, u64, u64> = TableDefinition::new("queue");
/// Files that need a person, so that they are found without looking at all the others.
pub(super) const FAILED: TableDefinition<'_, u64, ()> = TableDefinition::new("failed");
/// The sync list (M3): fingerprint -> receipt.
pub(super) const RECEIPTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("receipts");
/// The shard list (M6): fingerprint -> ranges that the server acknowledged.
pub(super) const SHARDS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("shards");
/// The outbox: sequence number -> change of names.
pub(super) const NAMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("names");
/// Library path -> the version that the server confirmed for it.
pub(super) const VERSIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("versions");
/// Whose word this is: one entry, see `bind`.
const BOUND: TableDefinition<'_, &str, &str> = TableDefinition::new("bound");
/// What must not start again from 0.
pub(super) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// What was counted in the other tables, so that opening the journal does not read them: one entry,
/// `files`.
const COUNTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("counted");
/// Its key.
const COUNTED_FILES: &str = "files";

/// Makes the tables that are not there: all of them in a new journal, and in an old one what came
/// later.
pub(super) fn complete(database: &Database) -> Result<(), redb::Error> {
    let present: Vec<_> = database
        .begin_read()?
        .list_tables()?
        .map(|table| table.name().to_owned())
        .collect();
    let tables = [
        FILES.name(),
        QUEUE.name(),
        FAILED.name(),
        RECEIPTS.name(),
        SHARDS.name(),
        NAMES.name(),
        VERSIONS.name(),
        BOUND.name(),
        COUNTERS.name(),
        COUNTED.name(),
    ];
    if tables
        .iter()
        .all(|table| present.iter().any(|there| there == table))
    {
        return Ok(());
    }
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    drop(Tables::open(&transaction, Counts::default())?);
    Ok(transaction.commit()?)
}

/// What was counted, if anybody did, and as far as it can be true: a program that does not know of
/// the counts changes the other tables and not these, and then, most often, the lengths of tables
/// say so.
pub(super) fn counted(transaction: &ReadTransaction) -> Result<Option<Counts>, redb::Error> {
    let counted = transaction.open_table(COUNTED)?;
    let Some(Ok(tally)) = counted
        .get(COUNTED_FILES)?
        .map(|bytes| record::decode_tally(bytes.value()))
    else {
        return Ok(None);
    };
    let files = [
        tally.pending,
        tally.backed_up,
        tally.placeholder,
        tally.local,
        tally.failed,
    ]
    .map(|amount| amount.files);
    let all: u64 = files.iter().sum();
    let agrees = transaction.open_table(QUEUE)?.len()? == tally.pending.files
        && transaction.open_table(FAILED)?.len()? == tally.failed.files
        && transaction.open_table(FILES)?.len()? == all;
    let names = transaction.open_table(NAMES)?.len()?;
    Ok(agrees.then_some(Counts {
        tally,
        names,
        exactness: Exactness::Exact,
    }))
}

/// The tables, open for writing. Whatever is changed is undone unless the transaction commits.
pub(super) struct Tables<'tx> {
    pub(super) files: Table<'tx, u64, &'static [u8]>,
    pub(super) queue: Table<'tx, u64, u64>,
    pub(super) failed: Table<'tx, u64, ()>,
    pub(super) receipts: Table<'tx, &'static [u8; 32], &'static [u8]>,
    pub(super) shards: Table<'tx, &'static [u8; 32], &'static [u8]>,
    pub(super) names: Table<'tx, u64, &'static [u8]>,
    pub(super) versions: Table<'tx, &'static str, u64>,
    pub(super) counters: Table<'tx, &'static str, u64>,
    pub(super) bound: Table<'tx, &'static str, &'static str>,
    counted: Table<'tx, &'static str, &'static [u8]>,
    /// What the tables hold, as it will be when the transaction has committed.
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
            names: transaction.open_table(NAMES)?,
            versions: transaction.open_table(VERSIONS)?,
            counters: transaction.open_table(COUNTERS)?,
            bound: transaction.open_table(BOUND)?,
            counted: transaction.open_table(COUNTED)?,
            counts,
        })
    }

    /// Writes down what was counted, before the commit that makes it true.
    pub(super) fn keep_counts(&mut self) -> Result<(), redb::Error> {
        match self.counts.exactness {
            Exactness::Exact => self.counted.insert(
                COUNTED_FILES,
                record::encode_tally(&self.counts.tally).as_slice(),
            )?,
            Exactness::Doubtful => self.counted.remove(COUNTED_FILES)?,
        };
        Ok(())
    }

    /// Replaces what is known of a file. A pending one goes to the newest end of the queue.
    pub(super) fn record(&mut self, id: FileId, file: &FileRecord) -> Result<(), Fault> {
        let mut place = 0;
        if matches!(file.state, FileState::Pending { .. }) {
            place = self
                .queue
                .last()?
                .map_or(0, |(newest, _)| newest.value() + 1);
            self.queue.insert(place, id.0)?;
        }
        let replaced = self
            .files
            .insert(id.0, record::encode_file(file, place).as_slice())?;
        let replaced = replaced.map(|bytes| record::decode_file(bytes.value()));
        self.counts.tally.add(file);
        self.let_go(id, replaced)?;
        if matches!(file.state, FileState::Failed { .. }) {
            self.failed.insert(id.0, ())?;
        }
        Ok(())
    }

    /// Forgets a file, and its place in the queue.
    pub(super) fn forget(&mut self, id: FileId) -> Result<(), Fault> {
        let removed = self.files.remove(id.0)?;
        let removed = removed.map(|bytes| record::decode_file(bytes.value()));
        self.let_go(id, removed)
    }

    /// What followed from a record that is not there any more goes too. Of one that could not be
    /// read, nobody knows how it was counted, and `pending` passes over the place in the queue that
    /// it may have left.
    fn let_go(
        &mut self,
        id: FileId,
        gone: Option<Result<StoredFile, RecordError>>,
    ) -> Result<(), Fault> {
        let StoredFile { record, place } = match gone {
            None => return Ok(()),
            Some(Ok(stored)) => stored,
            Some(Err(_unreadable)) => {
                self.counts.exactness = Exactness::Doubtful;
                return Ok(());
            }
        };
        self.counts.tally.take(&record);
        if matches!(record.state, FileState::Failed { .. }) {
            self.failed.remove(id.0)?;
        }
        if let Some(place) = place {
            self.queue.remove(place)?;
        }
        Ok(())
    }

    /// A file has another name. One that is not known stays unknown: whoever finds it will record
    /// it.
    pub(super) fn rename(&mut self, id: FileId, to: &LibraryPath) -> Result<(), Fault> {
        let Some(StoredFile { record, place }) = look::file(&self.files, id)? else {
            return Ok(());
        };
        let renamed = FileRecord {
            path: to.clone(),
            ..record
        };
        self.files.insert(
            id.0,
            record::encode_file(&renamed, place.unwrap_or_default()).as_slice(),
        )?;
        Ok(())
    }

    /// Changes what is said of a file, if that is still the same; answers whether it was.
    pub(super) fn update_state(&mut self, restated: &StateUpdate) -> Result<bool, Fault> {
        let StateUpdate {
            id,
            stamp,
            from,
            to,
        } = restated;
        let found = match look::file(&self.files, *id) {
            Err(Fault::Record { .. }) => None,
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

    /// Enters the end of a delivery; answers whether the file was still the one delivered.
    pub(super) fn finish_upload(&mut self, settled: &FinishedUpload) -> Result<bool, Fault> {
        if let UploadOutcome::BackedUp { receipt } = &settled.outcome {
            self.enter_receipt(receipt)?;
        }
        let Some(file) = self.promised(settled)? else {
            return Ok(false);
        };
        let fingerprint = settled.fingerprint;
        let state = match &settled.outcome {
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
        self.record(settled.id, &FileRecord { state, ..file })?;
        Ok(true)
    }

    /// The file of a delivery, if it is still what was delivered: same content, same promise.
    fn promised(&self, settled: &FinishedUpload) -> Result<Option<FileRecord>, Fault> {
        let found = match look::file(&self.files, settled.id) {
            // Not the promise that was kept, whatever it is.
            Err(Fault::Record { .. }) => None,
            found => found?,
        };
        let promise = FileState::Pending {
            fingerprint: settled.fingerprint,
        };
        Ok(found
            .map(|it| it.record)
            .filter(|it| it.stamp == settled.stamp && it.state == promise))
    }

    pub(super) fn enter_receipt(&mut self, receipt: &Receipt) -> Result<(), Fault> {
        let key = receipt.fingerprint.as_bytes();
        let known = look::receipt(&self.receipts, receipt.fingerprint)
            .ok()
            .flatten();
        // A check repeats receipts without their signatures: what was signed is worth keeping.
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

    pub(super) fn forget_receipt(&mut self, fingerprint: Fingerprint) -> Result<(), Fault> {
        self.receipts.remove(fingerprint.as_bytes())?;
        Ok(())
    }

    /// Of an image with a receipt nothing is noted: the last shards may be told of after it, and
    /// nobody would take the list away.
    pub(super) fn add_shard(
        &mut self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<(), Fault> {
        if self.receipts.get(fingerprint.as_bytes())?.is_some() {
            return Ok(());
        }
        let mut ranges = look::shards(&self.shards, fingerprint)?;
        ranges.insert(range);
        self.replace_shards(fingerprint, &ranges)
    }

    pub(super) fn replace_shards(
        &mut self,
        fingerprint: Fingerprint,
        ranges: &RangeSet,
    ) -> Result<(), Fault> {
        let key = fingerprint.as_bytes();
        if ranges.is_empty() {
            self.shards.remove(key)?;
        } else {
            self.shards
                .insert(key, record::encode_shards(ranges).as_slice())?;
        }
        Ok(())
    }

    /// Leaves counts as a program might that does not know of them.
    #[cfg(test)]
    pub(super) fn miscount(&mut self) {
        self.counts.tally.pending.files -= 1;
    }

    /// Leaves a record as a newer program might.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, id: FileId) -> Result<(), redb::Error> {
        self.files.insert(id.0, [99].as_slice())?;
        Ok(())
    }
}
