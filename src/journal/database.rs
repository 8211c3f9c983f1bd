//! The open database: reading, writing, reopening after errors, and giving it up when corrupt.
//!
//! redb refuses all work after an I/O error until it is opened again, so it is reopened once per
//! error. It may panic if something else modified the file. After that, or any other sign that the
//! content is at fault, the file is suspect: the journal answers `Corrupt`, and the next start
//! checks every page and replaces a file that is corrupt.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{fmt, io};

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadTransaction, ReadableDatabase as _};

use super::error::{JournalError, QueryError};
use super::tables::Tables;
use super::tally::Counts;
use super::{queries, schema};

/// The storage that the database is on: a file, or a disk in memory in tests.
pub(super) trait Storage: Send + Sync {
    /// Opens the database, which is closed.
    fn open(&self) -> Result<Database, redb::DatabaseError>;
    /// Records that the database was closed cleanly.
    fn mark_closed(&self) -> io::Result<()>;
    /// Records that the database may be corrupt: the next start must check all of it.
    fn mark_suspect(&self) -> io::Result<()>;
}

/// Reason for which a database could not be opened.
#[derive(Debug)]
pub(super) enum OpenFailure {
    /// The disk, the permissions or another process prevented it; the file may be sound.
    Unavailable(redb::Error),
    /// The file is not a sound journal.
    Corrupt(String),
}

/// The journal's database, and the counts over it.
pub(super) struct JournalDatabase {
    storage: Box<dyn Storage>,
    database: RwLock<DatabaseState>,
    counts: Mutex<Counts>,
}

enum DatabaseState {
    Open(Database),
    /// It could not be reopened after an error; the next access tries again.
    Broken,
    /// Corrupt: not to be used again.
    Corrupt,
    /// Closed for good.
    Closed,
}

impl DatabaseState {
    /// The database, if it is open. Does not try to open it.
    fn database(&self) -> Result<&Database, JournalError> {
        match self {
            Self::Open(database) => Ok(database),
            Self::Corrupt => Err(JournalError::Corrupt),
            Self::Broken | Self::Closed => Err(JournalError::Closed),
        }
    }
}

impl JournalDatabase {
    pub(super) fn open(storage: Box<dyn Storage>) -> Result<Self, OpenFailure> {
        let (database, counts) = open_sound(&*storage)?;
        Ok(Self {
            storage,
            database: RwLock::new(DatabaseState::Open(database)),
            counts: Mutex::new(counts),
        })
    }

    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// Runs a query on one consistent state, concurrently with a writer.
    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&ReadTransaction) -> Result<T, QueryError>,
    ) -> Result<T, JournalError> {
        self.reopen_if_broken()?;
        let outcome = {
            let state = self.database.read();
            let database = state.database()?;
            catch_unwind(AssertUnwindSafe(|| query(&database.begin_read()?)))
        };
        match outcome {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(QueryError::Storage(source))) => {
                let stopped = matches!(source, redb::Error::Io(_) | redb::Error::PreviousIo);
                Err(if stopped || is_corruption(&source) {
                    self.recover(source, JournalError::Read)
                } else {
                    JournalError::Read(Arc::new(source))
                })
            }
            Ok(Err(QueryError::Record { what, source })) => {
                Err(JournalError::Record { what, source })
            }
            Err(_panic) => Err(self.give_up_corrupt("redb panicked")),
        }
    }

    /// Commits everything that `change` changes, durably, or nothing. One thread writes; see
    /// `writer`.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), JournalError> {
        self.reopen_if_broken()?;
        let committed = {
            let state = self.database.read();
            let database = state.database()?;
            catch_unwind(AssertUnwindSafe(|| self.commit(database, change)))
        };
        match committed {
            Ok(Ok(counts)) => {
                *self.counts.lock() = counts;
                Ok(())
            }
            // Whether the commit reached the disk is unknown; reopening will show.
            Ok(Err(source)) => Err(self.recover(source, JournalError::Write)),
            Err(_panic) => Err(self.give_up_corrupt("redb panicked")),
        }
    }

    /// Closes the file cleanly. Nothing can be read or written afterwards.
    pub(super) fn close(&self) -> Result<(), JournalError> {
        let mut state = self.database.write();
        let DatabaseState::Open(database) = std::mem::replace(&mut *state, DatabaseState::Closed)
        else {
            return Ok(());
        };
        let closed = catch_unwind(AssertUnwindSafe(|| database.close()))
            .map_err(|_panic| JournalError::Corrupt)?;
        closed
            .map_err(redb::Error::from)
            .and_then(|()| Ok(self.storage.mark_closed()?))
            .map_err(|source| {
                // Everything acknowledged is on the disk; only the next start is slower.
                JournalError::Write(Arc::new(source))
            })
    }

    fn commit(
        &self,
        database: &Database,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<Counts, redb::Error> {
        let mut transaction = database.begin_write()?;
        // Without it, an open after a crash reads the whole file. It implies two-phase commit,
        // which also keeps file names (which anybody may choose) from forging a checksum.
        // Durability is `Immediate`, redb's default.
        transaction.set_quick_repair(true);
        let mut tables = Tables::open(&transaction, self.counts())?;
        change(&mut tables)?;
        tables.store_counts()?;
        let counts = tables.counts;
        drop(tables);
        transaction.commit()?;
        Ok(counts)
    }

    /// Reopens or gives up the database after an error. Returns the error for the caller.
    fn recover(
        &self,
        source: redb::Error,
        error: fn(Arc<redb::Error>) -> JournalError,
    ) -> JournalError {
        if is_corruption(&source) {
            return self.give_up_corrupt(&source.to_string());
        }
        match self.reopen() {
            Ok(()) => tracing::warn!(%source, "reopened the journal after an error"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    error, %source,
                    "cannot reopen the journal; the next access tries again"
                );
            }
        }
        error(Arc::new(source))
    }

    /// Reopens a database that an error closed.
    fn reopen_if_broken(&self) -> Result<(), JournalError> {
        let broken = matches!(*self.database.read(), DatabaseState::Broken);
        if broken { self.reopen() } else { Ok(()) }
    }

    fn reopen(&self) -> Result<(), JournalError> {
        // Waits for readers: their transactions must not outlive the file.
        let mut state = self.database.write();
        if let DatabaseState::Corrupt | DatabaseState::Closed = *state {
            return state.database().map(|_| ());
        }
        // Closed first: the file is locked while it is open.
        close_unchecked(std::mem::replace(&mut *state, DatabaseState::Broken));
        match open_sound(&*self.storage) {
            Ok((database, counts)) => {
                *self.counts.lock() = counts;
                *state = DatabaseState::Open(database);
                Ok(())
            }
            Err(OpenFailure::Unavailable(source)) => Err(JournalError::Write(Arc::new(source))),
            Err(OpenFailure::Corrupt(why)) => {
                drop(state);
                Err(self.give_up_corrupt(&why))
            }
        }
    }

    /// Gives up a corrupt database: nothing in it is used any more.
    fn give_up_corrupt(&self, suspect_reason: &str) -> JournalError {
        tracing::error!(
            reason = suspect_reason,
            "the journal is corrupt and will be rebuilt at the next start; no photo is affected"
        );
        let mut state = self.database.write();
        if !matches!(*state, DatabaseState::Closed) {
            close_unchecked(std::mem::replace(&mut *state, DatabaseState::Corrupt));
        }
        if let Err(error) = self.storage.mark_suspect() {
            tracing::error!(
                %error,
                "cannot mark the journal for a check at the next start; move its file away by hand"
            );
        }
        JournalError::Corrupt
    }
}

impl fmt::Debug for JournalDatabase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JournalDatabase")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Closes a database without reporting errors. After a panic inside it, closing may panic again.
fn close_unchecked(state: DatabaseState) {
    if catch_unwind(AssertUnwindSafe(|| drop(state))).is_err() {
        tracing::debug!("redb panicked again while closing the journal");
    }
}

/// Opens a database and its counts: the stored ones, or else by reading every file's record once.
fn open_sound(storage: &dyn Storage) -> Result<(Database, Counts), OpenFailure> {
    let database = sound(|| {
        storage
            .open()
            .map_err(|source| QueryError::Storage(source.into()))
    })?;
    let counts = sound(|| {
        schema::create_missing_tables(&database).map_err(QueryError::Storage)?;
        let transaction = database.begin_read()?;
        match queries::stored_counts(&transaction).map_err(QueryError::Storage)? {
            Some(counts) => Ok(counts),
            None => queries::count_all(&transaction),
        }
    });
    match counts {
        Ok(counts) => Ok((database, counts)),
        Err(failure) => {
            // Not while a panic unwinds: another one inside it would end the process.
            close_unchecked(DatabaseState::Open(database));
            Err(failure)
        }
    }
}

/// Runs a step of opening; errors and panics that tell of corruption become
/// [`OpenFailure::Corrupt`].
fn sound<T>(open: impl FnOnce() -> Result<T, QueryError>) -> Result<T, OpenFailure> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(sound)) => Ok(sound),
        Ok(Err(QueryError::Storage(source))) if !is_corruption(&source) => {
            Err(OpenFailure::Unavailable(source))
        }
        Ok(Err(QueryError::Storage(source))) => Err(OpenFailure::Corrupt(source.to_string())),
        Ok(Err(QueryError::Record { what, source })) => {
            Err(OpenFailure::Corrupt(format!("{what}: {source}")))
        }
        Err(_panic) => Err(OpenFailure::Corrupt("redb panicked".to_owned())),
    }
}

/// Whether the error says that the file's content is at fault, rather than the disk or the rights.
fn is_corruption(error: &redb::Error) -> bool {
    use std::io::ErrorKind;

    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. } => true,
        redb::Error::Io(source) => matches!(
            source.kind(),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof
        ),
        // redb may add variants. What is not known to be corruption is not treated as such, for
        // that would discard a journal.
        _ => false,
    }
}
