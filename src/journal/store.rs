//! The open database: how it is read, written, and given up.
//!
//! redb refuses all work after an I/O error until it is opened again, so it is, once per error. It
//! may panic where a file was altered behind its back; that, and everything else that says the file
//! is at fault, condemns the file: the journal answers `Damaged`, and the next start checks every
//! page and replaces what is not sound.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{fmt, io};

use redb::{Database, ReadTransaction, ReadableDatabase as _};

use super::error::{Fault, JournalError};
use super::look;
use super::tables::{self, Tables};
use super::tally::Counts;

/// What the database lies on.
pub(super) trait Medium: Send + Sync {
    /// Opens the database; it is closed.
    fn open(&self) -> Result<Database, redb::DatabaseError>;
    /// The database was closed, and all is well.
    fn closed(&self) -> io::Result<()>;
    /// The database is not to be believed: the next start must look at all of it.
    fn condemn(&self) -> io::Result<()>;
}

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
    medium: Box<dyn Medium>,
    database: RwLock<State>,
    counts: Mutex<Counts>,
}

enum State {
    Open(Database),
    /// It could not be opened again after an error; whoever needs it next tries.
    Broken,
    /// Not to be used again.
    Damaged,
    /// For good.
    Closed,
}

impl State {
    /// The database, if it is open; opening it is not tried here.
    fn database(&self) -> Result<&Database, JournalError> {
        match self {
            Self::Open(database) => Ok(database),
            Self::Damaged => Err(JournalError::Damaged),
            Self::Broken | Self::Closed => Err(JournalError::Closed),
        }
    }
}

impl Store {
    pub(super) fn open(medium: Box<dyn Medium>) -> Result<Self, OpenFault> {
        let (database, counts) = open_sound(&*medium)?;
        Ok(Self {
            medium,
            database: RwLock::new(State::Open(database)),
            counts: Mutex::new(counts),
        })
    }

    pub(super) fn counts(&self) -> Counts {
        *self.counted()
    }

    /// Looks at one consistent state, beside whoever writes.
    pub(super) fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, JournalError> {
        self.mend()?;
        let looked = {
            let state = self.shared();
            let database = state.database()?;
            catch_unwind(AssertUnwindSafe(|| look(&database.begin_read()?)))
        };
        match looked {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(Fault::Storage(source))) => {
                let stopped = matches!(source, redb::Error::Io(_) | redb::Error::PreviousIo);
                Err(if stopped || is_damage(&source) {
                    self.after(source, JournalError::Read)
                } else {
                    JournalError::Read(Arc::new(source))
                })
            }
            Ok(Err(Fault::Record { what, source })) => Err(JournalError::Record { what, source }),
            Err(_panic) => Err(self.condemn("redb panicked")),
        }
    }

    /// Changes everything that `change` changes, durably, or nothing. One thread writes; see
    /// `writer`.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), JournalError> {
        self.mend()?;
        let committed = {
            let state = self.shared();
            let database = state.database()?;
            catch_unwind(AssertUnwindSafe(|| self.commit(database, change)))
        };
        match committed {
            Ok(Ok(counts)) => {
                *self.counted() = counts;
                Ok(())
            }
            // Whether the disk took the commit is not known: the file will say.
            Ok(Err(source)) => Err(self.after(source, JournalError::Write)),
            Err(_panic) => Err(self.condemn("redb panicked")),
        }
    }

    /// Closes the file cleanly. Nothing can be read or written afterwards.
    pub(super) fn close(&self) -> Result<(), JournalError> {
        let mut state = self.exclusive();
        let State::Open(database) = std::mem::replace(&mut *state, State::Closed) else {
            return Ok(());
        };
        let closed = catch_unwind(AssertUnwindSafe(|| database.close()))
            .map_err(|_panic| JournalError::Damaged)?;
        closed
            .map_err(redb::Error::from)
            .and_then(|()| Ok(self.medium.closed()?))
            .map_err(|source| {
                // What was acknowledged is on the disk; only the next start is slower.
                JournalError::Write(Arc::new(source))
            })
    }

    fn commit(
        &self,
        database: &Database,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<Counts, redb::Error> {
        let mut transaction = database.begin_write()?;
        // Without it, an open after a crash walks the whole file. It brings two-phase commit with
        // it, which also keeps file names (anybody's choice) from forging a checksum. Durability is
        // `Immediate`, redb's default.
        transaction.set_quick_repair(true);
        let mut tables = Tables::open(&transaction, self.counts())?;
        change(&mut tables)?;
        tables.keep_counts()?;
        let counts = tables.counts;
        drop(tables);
        transaction.commit()?;
        Ok(counts)
    }

    /// What an error leaves to be done, and to be told.
    fn after(
        &self,
        source: redb::Error,
        told: fn(Arc<redb::Error>) -> JournalError,
    ) -> JournalError {
        if is_damage(&source) {
            return self.condemn(&source.to_string());
        }
        match self.reopen() {
            Ok(()) => tracing::warn!(%source, "the journal was opened again after an error"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, %source, "the journal cannot be opened again; whoever needs it next tries");
            }
        }
        told(Arc::new(source))
    }

    /// Opens a broken database again, if it is one.
    fn mend(&self) -> Result<(), JournalError> {
        let broken = matches!(*self.shared(), State::Broken);
        if broken { self.reopen() } else { Ok(()) }
    }

    fn reopen(&self) -> Result<(), JournalError> {
        // Waits for the readers: their transactions must not outlive the file.
        let mut state = self.exclusive();
        if let State::Damaged | State::Closed = *state {
            return state.database().map(|_| ());
        }
        // Closed first: the file is locked while it is open.
        give_up(std::mem::replace(&mut *state, State::Broken));
        match open_sound(&*self.medium) {
            Ok((database, counts)) => {
                *self.counted() = counts;
                *state = State::Open(database);
                Ok(())
            }
            Err(OpenFault::Refused(source)) => Err(JournalError::Write(Arc::new(source))),
            Err(OpenFault::Damaged(why)) => {
                drop(state);
                Err(self.condemn(&why))
            }
        }
    }

    /// Gives the file up: nothing in it is believed any more.
    fn condemn(&self, why: &str) -> JournalError {
        tracing::error!(
            why,
            "the journal is damaged and is made anew at the next start; photos are not affected"
        );
        let mut state = self.exclusive();
        if !matches!(*state, State::Closed) {
            give_up(std::mem::replace(&mut *state, State::Damaged));
        }
        if let Err(error) = self.medium.condemn() {
            tracing::error!(%error, "the next start will not look for the damage; move the journal away by hand");
        }
        JournalError::Damaged
    }

    // No lock is ever held over a panic that leaves its content half-changed: a poisoned one is as
    // good as new.

    fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Closes a database that nobody will ask whether it went well. After a panic inside it, this may
/// be the next.
fn give_up(state: State) {
    if catch_unwind(AssertUnwindSafe(|| drop(state))).is_err() {
        tracing::debug!("redb panicked again while it was closed");
    }
}

/// Opens a database, and learns what is counted in it: from its own word, or, where there is none,
/// by reading every file's record once.
fn open_sound(medium: &dyn Medium) -> Result<(Database, Counts), OpenFault> {
    let database = sound(|| {
        medium
            .open()
            .map_err(|source| Fault::Storage(source.into()))
    })?;
    let counts = sound(|| {
        tables::complete(&database).map_err(Fault::Storage)?;
        let transaction = database.begin_read()?;
        match tables::counted(&transaction).map_err(Fault::Storage)? {
            Some(counts) => Ok(counts),
            None => look::recount(&transaction),
        }
    });
    match counts {
        Ok(counts) => Ok((database, counts)),
        Err(fault) => {
            // Not while a panic unwinds: another one inside it would end the process.
            give_up(State::Open(database));
            Err(fault)
        }
    }
}

fn sound<T>(open: impl FnOnce() -> Result<T, Fault>) -> Result<T, OpenFault> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(sound)) => Ok(sound),
        Ok(Err(Fault::Storage(source))) if !is_damage(&source) => Err(OpenFault::Refused(source)),
        Ok(Err(Fault::Storage(source))) => Err(OpenFault::Damaged(source.to_string())),
        Ok(Err(Fault::Record { what, source })) => {
            Err(OpenFault::Damaged(format!("{what}: {source}")))
        }
        Err(_panic) => Err(OpenFault::Damaged("redb panicked".to_owned())),
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
        redb::Error::Io(source) => matches!(
            source.kind(),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof
        ),
        // redb's list is open; what is not known to be damage is not treated as such, for that
        // would discard a journal.
        _ => false,
    }
}
