//! The journal's file: how it comes to be, and what becomes of a damaged one.
//!
//! A new one is made under a temporary name, so that a crash never leaves half of one under the
//! name that counts. A damaged one is moved aside, not deleted: it may tell somebody what happened.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use redb::{Builder, Database};

use super::error::JournalError;
use super::store::{Medium, OpenFault, Store};
use super::tables;

/// Memory for redb's page cache. The system's page cache stands behind it, and look-ups touch few
/// pages: more buys little (64 MiB instead of 32 made random reads a fifth slower here, not
/// faster), and the client is to stay small.
const CACHE_BYTES: usize = 8 << 20;
/// Damaged journals that are kept; a further one replaces the last.
const DAMAGED_MAX: u32 = 9;

/// Times the journal may be opened without having been closed before all of it is checked at the
/// next.
const DOUBTS_MAX: u32 = 2;

/// Whether the journal is the one that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there, or there was none and a first one was begun.
    Continued,
    /// The one that was there could not be read; a new one was begun.
    Rebuilt,
}

/// Opens the journal at `path`, making one where there is none, or none that can be read.
pub(super) fn open_or_begin(path: &Path) -> Result<(Store, Origin), JournalError> {
    if !path
        .try_exists()
        .map_err(failed("look for the journal", path))?
    {
        begin(path)?;
    }
    let why = match open(path) {
        Ok(store) => return Ok((store, Origin::Continued)),
        Err(OpenFault::Refused(source)) => return Err(refused(path, source)),
        Err(OpenFault::Damaged(why)) => why,
    };
    let aside = move_aside(path)?;
    tracing::warn!(
        why,
        ?aside,
        "the journal was damaged and is made anew; photos are not affected"
    );
    begin(path)?;
    match open(path) {
        Ok(store) => Ok((store, Origin::Rebuilt)),
        Err(OpenFault::Refused(source)) => Err(refused(path, source)),
        Err(OpenFault::Damaged(_)) => Err(JournalError::Damaged),
    }
}

fn open(path: &Path) -> Result<Store, OpenFault> {
    Store::open(Box::new(Place {
        path: path.to_owned(),
    }))
}

/// A file of this name, with a note beside it (`<path>.doubt`) of how often it was opened since it
/// was last closed.
///
/// A power cut is no reason to read the whole file at the next start, and redb needs no such thing.
/// But a file that was altered behind its back may end the process, and would do so at every start.
/// So after a second end without a close, every page is checked.
struct Place {
    path: PathBuf,
}

impl Place {
    fn note(&self) -> PathBuf {
        with_suffix(&self.path, ".doubt")
    }

    fn doubts(&self) -> io::Result<u32> {
        match fs::read_to_string(self.note()) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(0),
            // Not a number: whatever happened to the note may have happened to the journal.
            read => Ok(read?.trim().parse().unwrap_or(DOUBTS_MAX)),
        }
    }
}

impl Medium for Place {
    fn open(&self) -> Result<Database, redb::DatabaseError> {
        let doubts = self.doubts()?;
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(doubts >= DOUBTS_MAX)
            .open(&self.path)?;
        fs::write(self.note(), doubts.saturating_add(1).to_string())?;
        Ok(database)
    }

    fn closed(&self) -> io::Result<()> {
        remove_if_there(&self.note())
    }

    fn condemn(&self) -> io::Result<()> {
        fs::write(self.note(), DOUBTS_MAX.to_string())
    }
}

/// Makes an empty journal: durable under its name when this returns.
fn begin(path: &Path) -> Result<(), JournalError> {
    let aside = with_suffix(path, ".new");
    // Left by a crash in here; it was never in use.
    remove_if_there(&aside).map_err(failed("remove", &aside))?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside);
    let file = file.map_err(failed("make the journal", &aside))?;
    fill(&aside).map_err(|source| JournalError::Open {
        path: aside.clone(),
        source: Arc::new(source),
    })?;
    file.sync_all()
        .map_err(failed("make the journal durable at", &aside))?;
    heirloom_crash::reached(CrashPoint::JournalCreated);
    fs::rename(&aside, path).map_err(failed("name the journal", path))?;
    heirloom_crash::reached(CrashPoint::JournalRenamed);
    sync_folder(path)
}

/// Gives an empty file the tables.
fn fill(path: &Path) -> Result<(), redb::Error> {
    let database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
    tables::complete(&database)?;
    Ok(database.close()?)
}

/// Moves a damaged journal to the first free of its names; answers which.
fn move_aside(path: &Path) -> Result<PathBuf, JournalError> {
    let mut names =
        (1..=DAMAGED_MAX).map(|number| with_suffix(path, &format!(".damaged-{number}")));
    let last = with_suffix(path, &format!(".damaged-{DAMAGED_MAX}"));
    let aside = names.find(|name| !name.exists()).unwrap_or(last);
    fs::rename(path, &aside).map_err(failed("move aside the damaged journal", path))?;
    let note = Place {
        path: path.to_owned(),
    };
    note.closed()
        .map_err(failed("remove the doubts about", path))?;
    sync_folder(path)?;
    Ok(aside)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(source),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in the folder of `path` durable.
fn sync_folder(path: &Path) -> Result<(), JournalError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("make names durable in", folder))
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

fn refused(path: &Path, source: redb::Error) -> JournalError {
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
