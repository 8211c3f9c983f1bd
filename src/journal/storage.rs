//! The journal's file on the local disk: creation, opening, and recovery from corruption.
//!
//! A new file is created under a temporary name, so that a crash never leaves half of one under the
//! final name. A corrupt one is set aside, not deleted: it may show what happened.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_support::file::{self, remove_if_exists};

use heirloom_crash::CrashPoint;
use redb::{Builder, Database};

use super::database::{JournalDatabase, OpenFailure, Storage};
use super::error::JournalError;
use super::schema;

/// Memory for redb's page cache. The system's page cache is behind it, and queries touch few pages:
/// more buys little (64 MiB instead of 32 made random reads a fifth slower here, not
/// faster), and the client is to stay small.
const CACHE_BYTES: usize = 8 << 20;
/// Corrupt journals that are kept; a further one replaces the last.
const CORRUPT_KEPT_MAX: u32 = 9;

/// Number of opens without a clean close after which the next open checks the whole file.
const UNCLEAN_OPENS_MAX: u32 = 2;

/// How a journal was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenedAs {
    /// The existing one, or a first one where there was none.
    Existing,
    /// A new one in place of a corrupt one.
    Rebuilt,
}

/// Opens the journal at `path`; creates one if there is none, or if it is corrupt.
pub(super) fn open_or_create(path: &Path) -> Result<(JournalDatabase, OpenedAs), JournalError> {
    if !path
        .try_exists()
        .map_err(failed("look for the journal", path))?
    {
        create(path)?;
    }
    let reason = match open(path) {
        Ok(database) => return Ok((database, OpenedAs::Existing)),
        Err(OpenFailure::Unavailable(source)) => return Err(unavailable(path, source)),
        Err(OpenFailure::Corrupt(reason)) => reason,
    };
    let kept_as = set_aside_corrupt(path)?;
    tracing::warn!(
        reason,
        ?kept_as,
        "the journal was corrupt and is rebuilt from the photos; no photo is affected"
    );
    create(path)?;
    match open(path) {
        Ok(database) => Ok((database, OpenedAs::Rebuilt)),
        Err(OpenFailure::Unavailable(source)) => Err(unavailable(path, source)),
        Err(OpenFailure::Corrupt(_)) => Err(JournalError::Corrupt),
    }
}

fn open(path: &Path) -> Result<JournalDatabase, OpenFailure> {
    JournalDatabase::open(Box::new(JournalFile {
        path: path.to_owned(),
    }))
}

/// The journal's file, and a counter file next to it (`<path>.doubt`) with the number of opens
/// since the last clean close.
///
/// A power cut is no reason to read the whole file at the next start, and redb does not need that.
/// But a file that was modified by something else may crash the process, and would do so at every
/// start. So after the second open without a clean close, every page is checked.
struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    fn counter_path(&self) -> PathBuf {
        with_suffix(&self.path, ".doubt")
    }

    fn unclean_opens(&self) -> io::Result<u32> {
        match fs::read_to_string(self.counter_path()) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(0),
            // Not a number: what happened to this file may have happened to the journal.
            read => Ok(read?.trim().parse().unwrap_or(UNCLEAN_OPENS_MAX)),
        }
    }
}

impl Storage for JournalFile {
    fn open(&self) -> Result<Database, redb::DatabaseError> {
        let unclean_opens = self.unclean_opens()?;
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(unclean_opens >= UNCLEAN_OPENS_MAX)
            .open(&self.path)?;
        fs::write(
            self.counter_path(),
            unclean_opens.saturating_add(1).to_string(),
        )?;
        Ok(database)
    }

    fn mark_closed(&self) -> io::Result<()> {
        remove_if_exists(&self.counter_path())
    }

    fn mark_suspect(&self) -> io::Result<()> {
        fs::write(self.counter_path(), UNCLEAN_OPENS_MAX.to_string())
    }
}

/// Creates an empty journal, durable under its name when this returns.
fn create(path: &Path) -> Result<(), JournalError> {
    let temporary = with_suffix(path, ".new");
    // Left by a crash in this function; it was never in use.
    remove_if_exists(&temporary).map_err(failed("remove", &temporary))?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary);
    let file = file.map_err(failed("create the journal", &temporary))?;
    create_tables(&temporary).map_err(|source| JournalError::Open {
        path: temporary.clone(),
        source: Arc::new(source),
    })?;
    file.sync_all()
        .map_err(failed("sync the journal", &temporary))?;
    heirloom_crash::reached(CrashPoint::JournalCreated);
    fs::rename(&temporary, path).map_err(failed("rename the new journal to", path))?;
    heirloom_crash::reached(CrashPoint::JournalRenamed);
    sync_folder(path)
}

/// Creates the tables in an empty file.
fn create_tables(path: &Path) -> Result<(), redb::Error> {
    let database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
    schema::create_missing_tables(&database)?;
    Ok(database.close()?)
}

/// Moves a corrupt journal to the first free name `<path>.damaged-N`; returns that name.
fn set_aside_corrupt(path: &Path) -> Result<PathBuf, JournalError> {
    let mut names =
        (1..=CORRUPT_KEPT_MAX).map(|number| with_suffix(path, &format!(".damaged-{number}")));
    let last = with_suffix(path, &format!(".damaged-{CORRUPT_KEPT_MAX}"));
    let kept_as = names.find(|name| !name.exists()).unwrap_or(last);
    fs::rename(path, &kept_as).map_err(failed("set aside the corrupt journal", path))?;
    let file = JournalFile {
        path: path.to_owned(),
    };
    file.mark_closed()
        .map_err(failed("reset the count of unclean opens of", path))?;
    sync_folder(path)?;
    Ok(kept_as)
}

/// Makes the names in the folder of `path` survive a power cut.
fn sync_folder(path: &Path) -> Result<(), JournalError> {
    file::sync_parent(path).map_err(failed("sync the folder of", path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::File {
        doing,
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

fn unavailable(path: &Path, source: redb::Error) -> JournalError {
    let path = path.to_owned();
    match source {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            JournalError::InUse { path }
        }
        redb::Error::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
            JournalError::Full {
                path,
                source: Arc::new(source),
            }
        }
        source => JournalError::Open {
            path,
            source: Arc::new(source),
        },
    }
}
