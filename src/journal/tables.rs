//! The tables of the journal, and what one transaction may change in them.
//!
//! Each request reads all that it must understand before it writes: one that meets a record it cannot read ends
//! without having changed anything, and the rest of its group is committed.

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};
use redb::{ReadableTable as _, Table, TableDefinition, TableError, WriteTransaction};

use super::entry::{FileId, FileRecord, FileState, NameChange, NameStep, Outcome, Settled};
use super::error::Fault;
use super::look;
use super::record::{self, StoredFile};
use super::tally::Counts;

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
/// The key of the one entry: the library that sync list, versions and outbox are about.
const LIBRARY: &str = "library";
/// What must not start again from 0.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// The sequence number of the next change of names. Never used twice: a late confirmation of one change must not
/// take another out of the outbox.
const NEXT_NAME: &str = "next_name";

/// Files that are looked at together when the library changes: bounds the memory for it.
const BIND_PAGE: usize = 1000;

/// What [`Tables::bind`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The journal was about no library yet.
    First,
    /// It is about this one.
    Same,
    /// It was about another one, and began anew for this one.
    Other,
}

/// The tables, open for writing. Whatever is changed is undone unless the transaction commits.
pub(super) struct Tables<'tx> {
    files: Table<'tx, u64, &'static [u8]>,
    queue: Table<'tx, u64, u64>,
    failed: Table<'tx, u64, ()>,
    receipts: Table<'tx, &'static [u8; 32], &'static [u8]>,
    shards: Table<'tx, &'static [u8; 32], &'static [u8]>,
    names: Table<'tx, u64, &'static [u8]>,
    versions: Table<'tx, &'static str, u64>,
    counters: Table<'tx, &'static str, u64>,
    bound: Table<'tx, &'static str, &'static str>,
    /// What the tables hold, as it will be when the transaction has committed.
    pub(super) counts: Counts,
}

impl<'tx> Tables<'tx> {
    pub(super) fn open(transaction: &'tx WriteTransaction, counts: Counts) -> Result<Self, TableError> {
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
            counts,
        })
    }

    /// Replaces what is known of a file. A pending one goes to the newest end of the queue.
    pub(super) fn record(&mut self, id: FileId, file: &FileRecord) -> Result<(), Fault> {
        let mut place = 0;
        if matches!(file.state, FileState::Pending { .. }) {
            place = self.queue.last()?.map_or(0, |(newest, _)| newest.value() + 1);
            self.queue.insert(place, id.0)?;
        }
        let replaced = self.files.insert(id.0, record::encode_file(file, place).as_slice())?;
        let replaced = replaced.and_then(|bytes| record::decode_file(bytes.value()).ok());
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
        let removed = removed.and_then(|bytes| record::decode_file(bytes.value()).ok());
        self.let_go(id, removed)
    }

    /// What followed from a record that is not there any more goes too. One that could not be read was never counted,
    /// and `pending` passes over the place in the queue that it may have left.
    fn let_go(&mut self, id: FileId, gone: Option<StoredFile>) -> Result<(), Fault> {
        let Some(StoredFile { record, place }) = gone else { return Ok(()) };
        self.counts.tally.take(&record);
        if matches!(record.state, FileState::Failed { .. }) {
            self.failed.remove(id.0)?;
        }
        if let Some(place) = place {
            self.queue.remove(place)?;
        }
        Ok(())
    }

    /// A file has another name. One that is not known stays unknown: whoever finds it will record it.
    pub(super) fn rename(&mut self, id: FileId, to: &LibraryPath) -> Result<(), Fault> {
        let Some(StoredFile { record, place }) = look::file(&self.files, id)? else { return Ok(()) };
        let renamed = FileRecord { path: to.clone(), ..record };
        self.files.insert(id.0, record::encode_file(&renamed, place.unwrap_or_default()).as_slice())?;
        Ok(())
    }

    /// Follows one change of a name; answers what was known of the file before. A record that cannot be read counts as none.
    pub(super) fn follow(&mut self, step: &NameStep) -> Result<Option<FileRecord>, Fault> {
        let known = match look::file(&self.files, step.id()) {
            Err(Fault::Record { .. }) => None,
            found => found?.map(|it| it.record),
        };
        if let Some(record) = &known
            && let Some(change) = self.change_for_library(step, record)?
        {
            self.queue_name(&change)?;
        }
        match step {
            NameStep::Forget { id } | NameStep::Remove { id } => self.forget(*id)?,
            NameStep::Rename { id, to } | NameStep::Move { id, to } | NameStep::Place { id, to } if known.is_some() => {
                self.rename(*id, to)?;
            }
            NameStep::Rename { .. } | NameStep::Move { .. } | NameStep::Place { .. } => {}
        }
        Ok(known)
    }

    /// What the library has to hear of a step. Of a photo that changed since it was backed up, it knows the name still.
    fn change_for_library(&self, step: &NameStep, record: &FileRecord) -> Result<Option<NameChange>, Fault> {
        let backed_up = matches!(record.state, FileState::BackedUp { .. });
        let in_library = backed_up || self.versions.get(record.path.as_str())?.is_some();
        Ok(match (step, &record.state) {
            (NameStep::Move { to, .. }, _) if in_library && *to != record.path => {
                Some(NameChange::Move { from: record.path.clone(), to: to.clone() })
            }
            (NameStep::Remove { .. }, _) if in_library => Some(NameChange::Remove { path: record.path.clone() }),
            (NameStep::Place { to, .. }, FileState::BackedUp { fingerprint }) => {
                let (fingerprint, mtime_ns) = (*fingerprint, record.stamp.mtime_ns);
                Some(NameChange::Put { path: to.clone(), fingerprint, mtime_ns })
            }
            (
                NameStep::Move { .. }
                | NameStep::Place { .. }
                | NameStep::Remove { .. }
                | NameStep::Rename { .. }
                | NameStep::Forget { .. },
                _,
            ) => None,
        })
    }

    /// Enters the end of a delivery; answers whether the file was still the one delivered.
    pub(super) fn settle(&mut self, settled: &Settled) -> Result<bool, Fault> {
        if let Outcome::BackedUp { receipt } = &settled.outcome {
            self.enter_receipt(receipt)?;
        }
        let Some(file) = self.promised(settled)? else { return Ok(false) };
        let fingerprint = settled.fingerprint;
        let state = match &settled.outcome {
            Outcome::BackedUp { .. } => {
                let mtime_ns = file.stamp.mtime_ns;
                self.queue_name(&NameChange::Put { path: file.path.clone(), fingerprint, mtime_ns })?;
                FileState::BackedUp { fingerprint }
            }
            Outcome::Failed { why } => FileState::Failed { fingerprint: Some(fingerprint), why: why.clone() },
        };
        self.record(settled.id, &FileRecord { state, ..file })?;
        Ok(true)
    }

    /// The file of a delivery, if it is still what was delivered: same content, same promise.
    fn promised(&self, settled: &Settled) -> Result<Option<FileRecord>, Fault> {
        let found = match look::file(&self.files, settled.id) {
            // Not the promise that was kept, whatever it is.
            Err(Fault::Record { .. }) => None,
            found => found?,
        };
        let promise = FileState::Pending { fingerprint: settled.fingerprint };
        Ok(found.map(|it| it.record).filter(|it| it.stamp == settled.stamp && it.state == promise))
    }

    fn enter_receipt(&mut self, receipt: &Receipt) -> Result<(), Fault> {
        let key = receipt.fingerprint.as_bytes();
        self.receipts.insert(key, record::encode_receipt(receipt).as_slice())?;
        self.shards.remove(key)?;
        Ok(())
    }

    pub(super) fn forget_receipt(&mut self, fingerprint: Fingerprint) -> Result<(), Fault> {
        self.receipts.remove(fingerprint.as_bytes())?;
        Ok(())
    }

    pub(super) fn note_shard(&mut self, fingerprint: Fingerprint, range: ByteRange) -> Result<(), Fault> {
        let mut ranges = look::shards(&self.shards, fingerprint)?;
        ranges.insert(range);
        self.replace_shards(fingerprint, &ranges)
    }

    pub(super) fn replace_shards(&mut self, fingerprint: Fingerprint, ranges: &RangeSet) -> Result<(), Fault> {
        let key = fingerprint.as_bytes();
        if ranges.is_empty() {
            self.shards.remove(key)?;
        } else {
            self.shards.insert(key, record::encode_shards(ranges).as_slice())?;
        }
        Ok(())
    }

    pub(super) fn queue_name(&mut self, change: &NameChange) -> Result<(), Fault> {
        let sequence = self.counters.get(NEXT_NAME)?.map_or(0, |next| next.value());
        self.counters.insert(NEXT_NAME, sequence + 1)?;
        self.names.insert(sequence, record::encode_change(change).as_slice())?;
        self.counts.names += 1;
        Ok(())
    }

    pub(super) fn confirm_name(&mut self, sequence: u64) -> Result<(), Fault> {
        if self.names.remove(sequence)?.is_some() {
            self.counts.names = self.counts.names.saturating_sub(1);
        }
        Ok(())
    }

    /// What the server confirmed of a path; none: nothing stands there.
    pub(super) fn set_version(&mut self, path: &LibraryPath, version: Option<u64>) -> Result<(), Fault> {
        match version {
            Some(version) => self.versions.insert(path.as_str(), version)?,
            None => self.versions.remove(path.as_str())?,
        };
        Ok(())
    }

    /// From now on this journal is about `library`. What another one said before is forgotten.
    pub(super) fn bind(&mut self, library: &str) -> Result<Bound, Fault> {
        let before = self.bound.insert(LIBRARY, library)?.map(|before| before.value().to_owned());
        match before {
            None => Ok(Bound::First),
            Some(before) if before == library => Ok(Bound::Same),
            Some(_) => self.begin_anew().map(|()| Bound::Other),
        }
    }

    /// Forgets all that a server said, and promises anew everything that was backed up there.
    fn begin_anew(&mut self) -> Result<(), Fault> {
        self.receipts.retain(|_, _| false)?;
        self.shards.retain(|_, _| false)?;
        self.versions.retain(|_, _| false)?;
        self.names.retain(|_, _| false)?;
        self.counts.names = 0;
        let mut from = Some(0);
        while let Some(first) = from {
            let page = look::files_from(&self.files, first, BIND_PAGE)?;
            from = page.last().and_then(|(last, _)| last.0.checked_add(1));
            for (id, file) in page {
                if let FileState::BackedUp { fingerprint } = file.state {
                    self.record(id, &FileRecord { state: FileState::Pending { fingerprint }, ..file })?;
                }
            }
        }
        Ok(())
    }

    /// Leaves a record as a newer program might.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, id: FileId) -> Result<(), redb::Error> {
        self.files.insert(id.0, [99].as_slice())?;
        Ok(())
    }
}
