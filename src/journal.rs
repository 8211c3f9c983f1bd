//! The journal: the client's database, in redb. It has the state of each file, the upload queue,
//! the sync list with receipts, the shard list, and the outbox of library changes.
//!
//! It is an index over the spool, never the only copy of a photo: it may be deleted, at the cost of
//! time. Every write is durable when it returns all the same: a pending file that a power cut made
//! the journal forget would not be uploaded until the whole tree is compared with it.
//!
//! Reads run concurrently; one thread writes, and commits requests in groups (see `writer`). All
//! functions block on the disk: async callers use `spawn_blocking`. `docs/FORMAT.md` describes the
//! stored bytes.

// The order is that of the layers: a file names only files listed below it.
mod storage;
mod writer;
mod database;
mod tables;
mod queries;
mod schema;
mod error;
mod record;
mod tally;
mod entry;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};

pub use entry::{
    BindOutcome, FileId, FileRecord, FileState, FinishedUpload, NameChange, NameUpdate,
    RemoteChanges, Stamp, StateUpdate, UploadOutcome,
};
pub use error::JournalError;
pub use record::RecordError;
#[cfg(any(test, fuzzing))]
pub use record::fuzz as fuzz_records;
pub use tally::{Amount, Tally};

use database::JournalDatabase;
use error::QueryError;
use storage::OpenedAs;
use tables::Tables;
use writer::GroupWriter;

/// The journal of one mount, open.
#[derive(Debug)]
pub struct Journal {
    database: Arc<JournalDatabase>,
    writer: GroupWriter,
    opened_as: OpenedAs,
}

impl Journal {
    /// Opens the journal at `path`, or creates one. A corrupt one is set aside (`<path>.damaged-N`)
    /// and replaced by an empty one, which `was_rebuilt` tells: it is derived data.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (database, opened_as) = storage::open_or_create(path)?;
        Self::start(database, opened_as)
    }

    fn start(database: JournalDatabase, opened_as: OpenedAs) -> Result<Self, JournalError> {
        let database = Arc::new(database);
        Ok(Self {
            writer: GroupWriter::start(Arc::clone(&database))?,
            database,
            opened_as,
        })
    }

    /// Whether `open` replaced a corrupt journal by an empty one.
    pub fn was_rebuilt(&self) -> bool {
        self.opened_as == OpenedAs::Rebuilt
    }

    /// Commits submitted writes and closes the file cleanly; dropping does the same, but cannot
    /// return an error. All later calls return `Closed`.
    pub fn close(&self) -> Result<(), JournalError> {
        self.writer.stop();
        self.database.close()
    }
}

/// The server that the journal is bound to.
impl Journal {
    /// Binds sync list, shard list and outbox to a library: a server installation and a user of it,
    /// as any string that stays the same. If they were bound to another one, they are emptied and
    /// every backed up file is pending again: what one server has says nothing about another.
    pub fn bind_server(&self, library: &str) -> Result<BindOutcome, JournalError> {
        let library = library.to_owned();
        self.write(move |tables| tables.bind_server(&library))
    }
}

/// Files and the queue.
impl Journal {
    /// The record of a file.
    pub fn file(&self, id: FileId) -> Result<Option<FileRecord>, JournalError> {
        self.database.read(|transaction| {
            let stored = queries::file(&transaction.open_table(schema::FILES)?, id)?;
            Ok(stored.map(|it| it.record))
        })
    }

    /// Replaces the records of files. A pending one goes to the newest end of the queue.
    pub fn record(&self, files: Vec<(FileId, FileRecord)>) -> Result<(), JournalError> {
        self.write(move |tables| {
            files
                .iter()
                .try_for_each(|(id, file)| tables.record(*id, file))
        })
    }

    /// Records the outcomes of uploads, in one durable transaction.
    ///
    /// Returns for each whether the file was still the one uploaded (same stamp, pending with this
    /// fingerprint); only then its state changes, it leaves the queue, and the name of a backed up
    /// one goes to the outbox. A receipt enters the sync list and ends the shard list's entry in
    /// any case: it is about the image.
    pub fn finish_uploads(&self, finished: Vec<FinishedUpload>) -> Result<Vec<bool>, JournalError> {
        self.write(move |tables| {
            finished
                .iter()
                .map(|upload| tables.finish_upload(upload))
                .collect()
        })
    }

    /// Changes the state of files, of each only if stamp and state are the expected ones; returns
    /// for each whether they were.
    pub fn update_state(&self, updates: Vec<StateUpdate>) -> Result<Vec<bool>, JournalError> {
        self.write(move |tables| updates.iter().map(|it| tables.update_state(it)).collect())
    }

    /// Applies renames and removals in their order, in one durable transaction: to the records and,
    /// where the library has the old path, to the outbox. Returns the record of each file before.
    pub fn update_names(
        &self,
        updates: Vec<NameUpdate>,
    ) -> Result<Vec<Option<FileRecord>>, JournalError> {
        self.write(move |tables| updates.iter().map(|it| tables.update_name(it)).collect())
    }

    /// Removes the records of files.
    pub fn forget(&self, ids: Vec<FileId>) -> Result<(), JournalError> {
        self.write(move |tables| ids.iter().try_for_each(|id| tables.forget(*id)))
    }

    /// All files, a page of at most `limit` at a time, by ascending id. Files with a record that
    /// cannot be read are left out, as if they had none: the comparison with the tree will record
    /// them again.
    pub fn files_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        let Some(first) = after.map_or(Some(0), |id| id.0.checked_add(1)) else {
            return Ok(Vec::new());
        };
        self.database.read(|transaction| {
            queries::files_from(&transaction.open_table(schema::FILES)?, first, limit)
        })
    }

    /// From the queue: up to `newest` from its newest end, then up to `oldest` from its oldest,
    /// none of `except`, none twice. Reads no more of the queue than that.
    pub fn pending(
        &self,
        newest: usize,
        oldest: usize,
        except: &HashSet<FileId>,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        self.database.read(|transaction| {
            let files = transaction.open_table(schema::FILES)?;
            let queue = transaction.open_table(schema::QUEUE)?;
            queries::pending(&files, &queue, newest, oldest, except)
        })
    }

    /// Up to `limit` failed files.
    pub fn failed(&self, limit: usize) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        self.failed_after(None, limit)
    }

    /// All failed files, a page of at most `limit` at a time, by ascending id.
    pub fn failed_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        let Some(first) = after.map_or(Some(0), |id| id.0.checked_add(1)) else {
            return Ok(Vec::new());
        };
        self.database.read(|transaction| {
            queries::failed_from(
                &transaction.open_table(schema::FILES)?,
                &transaction.open_table(schema::FAILED)?,
                first,
                limit,
            )
        })
    }

    /// Counts and sizes of files by state. From memory.
    pub fn tally(&self) -> Tally {
        self.database.counts().tally
    }
}

/// The sync list.
impl Journal {
    /// The server's receipt for an image, if this client ever got one.
    pub fn receipt(&self, fingerprint: Fingerprint) -> Result<Option<Receipt>, JournalError> {
        self.database.read(|transaction| {
            queries::receipt(&transaction.open_table(schema::RECEIPTS)?, fingerprint)
        })
    }

    /// Adds receipts, whether or not a file here has the image.
    pub fn add_receipts(&self, receipts: Vec<Receipt>) -> Result<(), JournalError> {
        self.write(move |tables| {
            receipts
                .iter()
                .try_for_each(|receipt| tables.add_receipt(receipt))
        })
    }

    /// Removes receipts that the server does not confirm any more.
    pub fn forget_receipts(&self, fingerprints: Vec<Fingerprint>) -> Result<(), JournalError> {
        self.write(move |tables| {
            fingerprints
                .iter()
                .try_for_each(|fingerprint| tables.forget_receipt(*fingerprint))
        })
    }
}

/// The shard list.
impl Journal {
    /// The ranges of an image that the server acknowledged; empty if there are none.
    pub fn shards(&self, fingerprint: Fingerprint) -> Result<RangeSet, JournalError> {
        self.database.read(|transaction| {
            queries::shards(&transaction.open_table(schema::SHARDS)?, fingerprint)
        })
    }

    /// Adds a range that the server acknowledged.
    pub fn add_shard(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<(), JournalError> {
        self.write(move |tables| tables.add_shard(fingerprint, range))
    }

    /// Replaces the list by the server's, which wins. The empty set removes it.
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
    /// Adds changes of names to the outbox, in this order.
    pub fn queue_names(&self, changes: Vec<NameChange>) -> Result<(), JournalError> {
        self.write(move |tables| {
            changes
                .iter()
                .try_for_each(|change| tables.queue_name(change))
        })
    }

    /// The oldest changes in the outbox with their sequence numbers, which are never used twice.
    pub fn queued_names(&self, limit: usize) -> Result<Vec<(u64, NameChange)>, JournalError> {
        self.database.read(|transaction| {
            queries::queued_names(&transaction.open_table(schema::OUTBOX)?, limit)
        })
    }

    /// Removes confirmed changes from the outbox and records the versions that paths have now
    /// (`None`: the path does not exist).
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

    /// Advances the feed position over these changes of the library, which are ours, as far as they
    /// follow it directly: the change feed need not bring them.
    pub fn skip_own_changes(&self, ours: BTreeSet<u64>) -> Result<(), JournalError> {
        self.write(move |tables| tables.skip_own_changes(&ours))
    }

    /// The version that the server confirmed for a path.
    pub fn name_version(&self, path: &LibraryPath) -> Result<Option<u64>, JournalError> {
        self.database.read(|transaction| {
            let versions = transaction.open_table(schema::CONFIRMED_VERSIONS)?;
            Ok(versions
                .get(path.as_str())?
                .and_then(|version| queries::confirmed(version.value())))
        })
    }

    /// The versions that the server confirmed for each of these paths.
    pub fn name_versions(&self, paths: &[LibraryPath]) -> Result<Vec<Option<u64>>, JournalError> {
        self.database.read(|transaction| {
            let versions = transaction.open_table(schema::CONFIRMED_VERSIONS)?;
            let version = |path: &LibraryPath| {
                Ok(versions
                    .get(path.as_str())?
                    .and_then(|it| queries::confirmed(it.value())))
            };
            paths.iter().map(version).collect()
        })
    }

    /// Position up to which the change feed was followed; 0 at the beginning.
    pub fn feed_position(&self) -> Result<u64, JournalError> {
        self.database.read(|transaction| {
            let counters = transaction.open_table(schema::COUNTERS)?;
            Ok(counters
                .get(schema::FEED_KEY)?
                .map_or(0, |position| position.value()))
        })
    }

    /// Records what a page of the change feed brought, in one durable transaction.
    pub fn add_remote(&self, remote: RemoteChanges) -> Result<(), JournalError> {
        self.write(move |tables| tables.add_remote(&remote))
    }

    /// Number of changes in the outbox. From memory.
    pub fn names_queued(&self) -> u64 {
        self.database.counts().names
    }
}

impl Journal {
    /// Submits a change, and waits until it is durable.
    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.writer.submit(change)?.wait()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot close the journal cleanly; the next start may be slower"
            );
        }
    }
}
