//! The open database: how it is read, written, and opened again after the disk failed.
//!
//! redb refuses all work after an I/O error until it is opened again, and may panic where a file was altered behind
//! its back. Both end here: the file is opened again once per failure, and a panic becomes `Damaged`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, ReadTransaction, ReadableDatabase as _};

use super::error::{Fault, JournalError};
use super::look;
use super::tables::Tables;
use super::tally::Counts;

/// How the database is opened, and opened again.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// Why a database could not be taken into use.
#[derive(Debug)]
pub(super) enum OpenFault {
    /// The disk, the rights, another process: the file may be sound.
    Refused(redb::Error),
    /// What is there is not a sound journal.
    Damaged(String),
}

/// The database, and what was counted in it.
pub(super) struct Store {
    opener: Opener,
    database: RwLock<State>,
    counts: Mutex<Counts>,
}

enum State {
    Open(Database),
    /// It could not be opened again after an error; whoever needs it next tries.
    Broken,
    /// For good.
    Closed,
}

impl Store {
    pub(super) fn open(opener: Opener) -> Result<Self, OpenFault> {
        let (database, counts) = open_sound(&opener)?;
        Ok(Self { opener, database: RwLock::new(State::Open(database)), counts: Mutex::new(counts) })
    }

    pub(super) fn counts(&self) -> Counts {
        *self.counted()
    }

    /// Looks at one consistent state, beside whoever writes.
    pub(super) fn read<T>(&self, look: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, JournalError> {
        self.mend()?;
        let looked = {
            let database = self.shared();
            let State::Open(database) = &*database else { return Err(JournalError::Closed) };
            catch_unwind(AssertUnwindSafe(|| look(&database.begin_read()?)))
        };
        match looked {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(fault)) => {
                if matches!(&fault, Fault::Storage(source) if stops_redb(source)) {
                    self.reopen();
                }
                Err(fault.reading())
            }
            Err(_panic) => Err(JournalError::Damaged),
        }
    }

    /// Changes everything that `change` changes, durably, or nothing. One thread writes; see `writer`.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), JournalError> {
        self.mend()?;
        let error = match catch_unwind(AssertUnwindSafe(|| self.commit(change))) {
            Ok(Ok(counts)) => {
                *self.counted() = counts;
                return Ok(());
            }
            Ok(Err(source)) => JournalError::Write(Arc::new(source)),
            Err(_panic) => JournalError::Damaged,
        };
        // Whether the disk took the commit is not known: the file will say.
        self.reopen();
        Err(error)
    }

    /// Closes the file cleanly. Nothing can be read or written afterwards.
    pub(super) fn close(&self) -> Result<(), JournalError> {
        match std::mem::replace(&mut *self.exclusive(), State::Closed) {
            State::Open(database) => database.close().map_err(|source| JournalError::Write(Arc::new(source.into()))),
            State::Broken | State::Closed => Ok(()),
        }
    }

    fn commit(&self, change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>) -> Result<Counts, redb::Error> {
        let database = self.shared();
        let State::Open(database) = &*database else { return Err(redb::Error::DatabaseClosed) };
        let mut transaction = database.begin_write()?;
        // Without it, an open after a crash walks the whole file. It brings two-phase commit with it, which also keeps
        // file names (anybody's choice) from forging a checksum. Durability is `Immediate`, redb's default.
        transaction.set_quick_repair(true);
        let mut tables = Tables::open(&transaction, self.counts())?;
        change(&mut tables)?;
        let counts = tables.counts;
        drop(tables);
        transaction.commit()?;
        Ok(counts)
    }

    /// Opens a broken database again, if it is one.
    fn mend(&self) -> Result<(), JournalError> {
        let broken = matches!(*self.shared(), State::Broken);
        if broken { self.try_reopen() } else { Ok(()) }
    }

    /// After an error that stops redb. It leaves the database broken where opening fails too.
    fn reopen(&self) {
        match self.try_reopen() {
            Ok(()) => tracing::warn!("the journal was opened again after an error"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the journal cannot be opened again; whoever needs it next tries");
            }
        }
    }

    fn try_reopen(&self) -> Result<(), JournalError> {
        // Waits for the readers: their transactions must not outlive the file.
        let mut state = self.exclusive();
        if matches!(*state, State::Closed) {
            return Err(JournalError::Closed);
        }
        // Closed first: the file is locked while it is open.
        drop(std::mem::replace(&mut *state, State::Broken));
        let (database, counts) = open_sound(&self.opener).map_err(|fault| match fault {
            OpenFault::Refused(source) => JournalError::Write(Arc::new(source)),
            OpenFault::Damaged(_) => JournalError::Damaged,
        })?;
        *self.counted() = counts;
        *state = State::Open(database);
        Ok(())
    }

    // No lock is ever held over a panic that leaves its content half-changed: a poisoned one is as good as new.

    fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Opens a database and counts what is in it, which also reads every file's record once.
fn open_sound(opener: &Opener) -> Result<(Database, Counts), OpenFault> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = opener().map_err(|source| Fault::Storage(source.into()))?;
        let counts = look::recount(&database.begin_read()?)?;
        Ok((database, counts))
    }));
    match opened {
        Ok(Ok(sound)) => Ok(sound),
        Ok(Err(Fault::Storage(source))) if is_damage(&source) => Err(OpenFault::Damaged(source.to_string())),
        Ok(Err(Fault::Storage(source))) => Err(OpenFault::Refused(source)),
        Ok(Err(Fault::Record { what, source })) => Err(OpenFault::Damaged(format!("{what}: {source}"))),
        Err(_panic) => Err(OpenFault::Damaged("its pages contradict each other".to_owned())),
    }
}

/// Whether the error says that the file's content is at fault, rather than the disk or the rights.
fn is_damage(error: &redb::Error) -> bool {
    use std::io::ErrorKind;

    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. } => true,
        redb::Error::Io(source) => matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        // redb's list is open; what is not known to be damage is not treated as such, for that would discard a journal.
        _ => false,
    }
}

/// Whether redb refuses all further work until the file is opened again.
fn stops_redb(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
}
