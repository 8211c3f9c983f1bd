//! What is remembered, in redb: files and how far they are, the queue, the sync list with receipts
//! (M3), the shard list (M6), the outbox of library changes.
//!
//! An index over the spool, never the only copy of a photo: it may be deleted, at the cost of time.
//! What it says is durable all the same. Every write has reached the disk when it returns, because
//! after a power cut a promise that was forgotten would be a photo that nobody uploads until
//! somebody compares the whole tree.
//!
//! Many read side by side; one thread writes, and commits what came together as one (see `writer`).
//! All functions block on the disk: async callers use `spawn_blocking`. `docs/FORMAT.md` describes
//! the bytes.

mod entry;
mod error;
mod look;
mod names;
mod place;
mod record;
mod store;
mod tables;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};

pub use entry::{
    FileId, FileRecord, FileState, FinishedUpload, NameChange, NameUpdate, RemoteChanges, Stamp,
    StateUpdate, UploadOutcome,
};
pub use error::JournalError;
pub use names::BindOutcome;
pub use record::RecordError;
#[cfg(any(test, fuzzing))]
pub use record::trial as records_trial;
pub use tally::{Amount, Tally};

use error::Fault;
use place::Origin;
use store::Store;
use tables::Tables;
use writer::Writer;

/// The journal of one mount, open.
#[derive(Debug)]
pub struct Journal {
    store: Arc<Store>,
    writer: Writer,
    origin: Origin,
}

impl Journal {
    /// Opens the journal at `path`, or makes one. One that cannot be read is moved aside
    /// (`<path>.damaged-N`), reported by `was_rebuilt`, and a new one begun: it is derived data.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (store, origin) = place::open_or_begin(path)?;
        Self::start(store, origin)
    }

    fn start(store: Store, origin: Origin) -> Result<Self, JournalError> {
        let store = Arc::new(store);
        Ok(Self {
            writer: Writer::start(Arc::clone(&store))?,
            store,
            origin,
        })
    }

    /// Whether a damaged journal was replaced by an empty one at `open`.
    pub fn was_rebuilt(&self) -> bool {
        self.origin == Origin::Rebuilt
    }

    /// Writes what is on its way and closes the file cleanly; dropping does the same, but cannot
    /// tell of an error. Everything asked afterwards is answered with `Closed`.
    pub fn close(&self) -> Result<(), JournalError> {
        self.writer.stop();
        self.store.close()
    }
}

/// Whose word the journal keeps.
impl Journal {
    /// Says which library sync list, shard list and outbox are about: an installation and a user of
    /// it, in any words that stay the same. If they were about another one, all they say is
    /// forgotten and every backed up file is promised anew: what one server has says nothing about
    /// another.
    pub fn bind_server(&self, library: &str) -> Result<BindOutcome, JournalError> {
        let library = library.to_owned();
        self.write(move |tables| tables.bind_server(&library))
    }
}

/// Files and the queue.
impl Journal {
    /// What is known of a file.
    pub fn file(&self, id: FileId) -> Result<Option<FileRecord>, JournalError> {
        self.store.read(|journal| {
            let stored = look::file(&journal.open_table(tables::FILES)?, id)?;
            Ok(stored.map(|it| it.record))
        })
    }

    /// Replaces what is known of these files. A pending one goes to the newest end of the queue.
    pub fn record(&self, files: Vec<(FileId, FileRecord)>) -> Result<(), JournalError> {
        self.write(move |tables| {
            files
                .iter()
                .try_for_each(|(id, file)| tables.record(*id, file))
        })
    }

    /// Enters the ends of deliveries, in one durable transaction.
    ///
    /// Answers for each whether the file was still the one delivered (this stamp, a pending promise
    /// of this fingerprint); only then its state changes, it leaves the queue, and the name of a
    /// backed up one goes to the outbox. A receipt enters the sync list and ends the shard list's
    /// entry in any case: it is about the image.
    pub fn finish_uploads(&self, settled: Vec<FinishedUpload>) -> Result<Vec<bool>, JournalError> {
        self.write(move |tables| {
            settled
                .iter()
                .map(|end| tables.finish_upload(end))
                .collect()
        })
    }

    /// Changes what is said of files, of each only if that is still the same; answers for each
    /// whether it was.
    pub fn update_state(&self, restated: Vec<StateUpdate>) -> Result<Vec<bool>, JournalError> {
        self.write(move |tables| restated.iter().map(|it| tables.update_state(it)).collect())
    }

    /// Follows changes of names in their order, in one durable transaction: here and, where the
    /// library has the old name, in the outbox. Answers what was known of each file just before.
    pub fn update_names(
        &self,
        steps: Vec<NameUpdate>,
    ) -> Result<Vec<Option<FileRecord>>, JournalError> {
        self.write(move |tables| steps.iter().map(|step| tables.update_name(step)).collect())
    }

    /// These files are gone.
    pub fn forget(&self, ids: Vec<FileId>) -> Result<(), JournalError> {
        self.write(move |tables| ids.iter().try_for_each(|id| tables.forget(*id)))
    }

    /// All files, a page of at most `limit` at a time, by ascending id. Files with a record that
    /// cannot be read are left out, as if they were not known: whoever compares will record them
    /// anew.
    pub fn files_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        let Some(first) = after.map_or(Some(0), |id| id.0.checked_add(1)) else {
            return Ok(Vec::new());
        };
        self.store
            .read(|journal| look::files_from(&journal.open_table(tables::FILES)?, first, limit))
    }

    /// From the queue: up to `newest` from its newest end, then up to `oldest` from its oldest,
    /// none of `except`, none twice. Reads no more of the queue than that.
    pub fn pending(
        &self,
        newest: usize,
        oldest: usize,
        except: &HashSet<FileId>,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        self.store.read(|journal| {
            let files = journal.open_table(tables::FILES)?;
            let queue = journal.open_table(tables::QUEUE)?;
            look::pending(&files, &queue, newest, oldest, except)
        })
    }

    /// Up to `limit` of the files that need a person.
    pub fn failed(&self, limit: usize) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        self.failed_after(None, limit)
    }

    /// All files that need a person, a page of at most `limit` at a time, by ascending id.
    pub fn failed_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        let Some(first) = after.map_or(Some(0), |id| id.0.checked_add(1)) else {
            return Ok(Vec::new());
        };
        self.store.read(|journal| {
            look::failed_from(
                &journal.open_table(tables::FILES)?,
                &journal.open_table(tables::FAILED)?,
                first,
                limit,
            )
        })
    }

    /// Counts and bytes of files by state. From memory.
    pub fn tally(&self) -> Tally {
        self.store.counts().tally
    }
}

/// The sync list (M3).
impl Journal {
    /// The server's word that it has this image, if it ever gave it to this client.
    pub fn receipt(&self, fingerprint: Fingerprint) -> Result<Option<Receipt>, JournalError> {
        self.store
            .read(|journal| look::receipt(&journal.open_table(tables::RECEIPTS)?, fingerprint))
    }

    /// Keeps the server's word on images, wherever they are.
    pub fn add_receipts(&self, receipts: Vec<Receipt>) -> Result<(), JournalError> {
        self.write(move |tables| {
            receipts
                .iter()
                .try_for_each(|receipt| tables.enter_receipt(receipt))
        })
    }

    /// The server does not stand by these any more.
    pub fn forget_receipts(&self, fingerprints: Vec<Fingerprint>) -> Result<(), JournalError> {
        self.write(move |tables| {
            fingerprints
                .iter()
                .try_for_each(|fingerprint| tables.forget_receipt(*fingerprint))
        })
    }
}

/// The shard list (M6).
impl Journal {
    /// What the server acknowledged of an image; empty if nothing.
    pub fn shards(&self, fingerprint: Fingerprint) -> Result<RangeSet, JournalError> {
        self.store
            .read(|journal| look::shards(&journal.open_table(tables::SHARDS)?, fingerprint))
    }

    /// Adds a range that the server acknowledged.
    pub fn add_shard(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<(), JournalError> {
        self.write(move |tables| tables.add_shard(fingerprint, range))
    }

    /// The server's word, which wins. The empty set ends the entry.
    pub fn replace_shards(
        &self,
        fingerprint: Fingerprint,
        received: &RangeSet,
    ) -> Result<(), JournalError> {
        let received = received.clone();
        self.write(move |tables| tables.replace_shards(fingerprint, &received))
    }
}

/// The outbox of library changes, and what the server confirmed.
impl Journal {
    /// Puts changes of names into the outbox, in this order.
    pub fn queue_names(&self, changes: Vec<NameChange>) -> Result<(), JournalError> {
        self.write(move |tables| {
            changes
                .iter()
                .try_for_each(|change| tables.queue_name(change))
        })
    }

    /// The oldest changes in the outbox with their sequence numbers, which are never used twice.
    pub fn queued_names(&self, limit: usize) -> Result<Vec<(u64, NameChange)>, JournalError> {
        self.store
            .read(|journal| look::queued_names(&journal.open_table(tables::NAMES)?, limit))
    }

    /// Takes confirmed changes out of the outbox and writes the versions that paths have now (None:
    /// nothing stands there).
    pub fn confirm_names(
        &self,
        done: Vec<u64>,
        versions: Vec<(LibraryPath, Option<u64>)>,
    ) -> Result<(), JournalError> {
        self.write(move |tables| {
            done.iter()
                .try_for_each(|sequence| tables.confirm_name(*sequence))?;
            tables.set_versions(&versions)
        })
    }

    /// Changes of the library with these numbers are ours, and known here: where they follow upon
    /// what the change feed brought, it need not bring them.
    pub fn skip_own_changes(&self, ours: BTreeSet<u64>) -> Result<(), JournalError> {
        self.write(move |tables| tables.skip_own_changes(&ours))
    }

    /// The version that the server confirmed for what stands at `path`.
    pub fn name_version(&self, path: &LibraryPath) -> Result<Option<u64>, JournalError> {
        self.store.read(|journal| {
            let versions = journal.open_table(tables::VERSIONS)?;
            Ok(versions
                .get(path.as_str())?
                .and_then(|version| names::confirmed(version.value())))
        })
    }

    /// The versions that the server confirmed for what stands at each of these paths.
    pub fn name_versions(&self, paths: &[LibraryPath]) -> Result<Vec<Option<u64>>, JournalError> {
        self.store.read(|journal| {
            let versions = journal.open_table(tables::VERSIONS)?;
            let version = |path: &LibraryPath| {
                Ok(versions
                    .get(path.as_str())?
                    .and_then(|it| names::confirmed(it.value())))
            };
            paths.iter().map(version).collect()
        })
    }

    /// Up to where the change feed was followed; 0 at the beginning.
    pub fn feed_position(&self) -> Result<u64, JournalError> {
        self.store.read(|journal| {
            let counters = journal.open_table(tables::COUNTERS)?;
            Ok(counters
                .get(names::FEED)?
                .map_or(0, |position| position.value()))
        })
    }

    /// Enters what a page of the change feed brought, in one durable transaction.
    pub fn add_remote(&self, arrived: RemoteChanges) -> Result<(), JournalError> {
        self.write(move |tables| tables.add_remote(&arrived))
    }

    /// How many changes are in the outbox. From memory.
    pub fn names_queued(&self) -> u64 {
        self.store.counts().names
    }
}

impl Journal {
    /// Durable when it returns.
    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.writer.submit(change)?.wait()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the journal was not closed cleanly"
            );
        }
    }
}
