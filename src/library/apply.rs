//! *Arriving*: what a change that another device made means for what stands here.
//!
//! Nothing that stands here is overwritten, unless it is exactly what the library had there before:
//! then the change is the next step of the same file, and the bytes it replaces are on the server.
//! Where two devices gave different photos one name, ours keeps it and the other is shown, and kept
//! in the library, under a name that says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{LibraryEntry, LibraryFeed, LibraryPhoto};
use heirloom_protocol::{Fingerprint, LibraryPath};

use super::LibraryError;
use super::placeholder_store::PlaceholderStore;
use crate::journal::{
    FileId, FileRecord, FileState, Journal, JournalError, NameChange, RemoteChanges, Stamp,
};
use crate::remote::RemoteError;
use crate::spool::{Kind, Placeholder, Spool, SpoolError, SpoolPath, fingerprint_of};

/// Names that are tried for a photo whose own is taken, before it is given up with a word in the
/// log.
const OTHER_NAMES_MAX: u32 = 20;

/// Why what other devices changed is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrivalError {
    /// Whose library it is is not known.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The server, or the way to it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The journal did not give or take something.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The tree did not.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl ArrivalError {
    /// How long the server asked us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Library(LibraryError::Remote(error)) | Self::Remote(error) => error.retry_after(),
            Self::Library(LibraryError::Journal(_)) | Self::Journal(_) | Self::Spool(_) => None,
        }
    }
}

/// Shows names on a shelf.
pub(super) struct Arriving {
    spool: Spool,
    journal: Arc<Journal>,
    shelf: Box<dyn PlaceholderStore>,
    /// Whether the spool was found empty: then what is known of the library says nothing about what
    /// stands here.
    refilling: AtomicBool,
}

/// What became of one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) arrived: u64,
    pub(super) conflicts: u64,
}

/// What stands at a path.
#[derive(Debug)]
enum Standing {
    Nothing,
    File {
        id: FileId,
        stamp: Stamp,
        record: Option<FileRecord>,
    },
    /// A folder or a link.
    Other,
}

impl Arriving {
    pub(super) fn new(
        spool: Spool,
        journal: Arc<Journal>,
        shelf: Box<dyn PlaceholderStore>,
    ) -> Self {
        Self {
            spool,
            journal,
            shelf,
            refilling: AtomicBool::new(false),
        }
    }

    /// An empty spool shows the whole library again, however much of it was shown before. (Whoever
    /// empties it through the mount empties the library, too.)
    pub(super) fn begin_anew_if_emptied(&self) -> Result<(), ArrivalError> {
        let mut is_empty = true;
        self.spool.walk_below(SpoolPath::Root, &mut |_| {
            is_empty = false;
            std::ops::ControlFlow::Break(())
        });
        if is_empty && self.journal.feed_position()? > 0 {
            tracing::info!("the spool is empty: the library is shown anew");
            self.refilling.store(true, Ordering::Release);
            self.journal.add_remote(RemoteChanges::default())?;
        }
        Ok(())
    }

    /// All that there was is shown.
    pub(super) fn caught_up(&self) {
        self.refilling.store(false, Ordering::Release);
    }

    /// Shows a page. What it made is on the disk before the journal says that it was shown.
    pub(super) fn show(&self, feed: LibraryFeed) -> Result<Shown, ArrivalError> {
        let paths: Vec<_> = feed
            .entries
            .iter()
            .map(|entry| entry.path.clone())
            .collect();
        let versions = self.journal.name_versions(&paths)?;
        let (mut arrived, mut shown) = (
            RemoteChanges {
                position: feed.next,
                ..RemoteChanges::default()
            },
            Shown::default(),
        );
        for (entry, known) in feed.entries.into_iter().zip(versions) {
            self.follow(entry, known, &mut arrived, &mut shown)?;
        }
        if shown.arrived > 0 {
            self.spool.sync_all()?;
            heirloom_crash::reached(CrashPoint::PlaceholdersSynced);
            tracing::info!(photos = shown.arrived, "shown from the library");
        }
        self.journal.add_remote(arrived)?;
        if shown.arrived > 0 {
            heirloom_crash::reached(CrashPoint::RemoteNamesRecorded);
        }
        Ok(shown)
    }

    fn follow(
        &self,
        entry: LibraryEntry,
        known: Option<u64>,
        arrived: &mut RemoteChanges,
        shown: &mut Shown,
    ) -> Result<(), ArrivalError> {
        // What we did ourselves comes back to us.
        if known.is_some_and(|known| known >= entry.version)
            && !self.refilling.load(Ordering::Acquire)
        {
            return Ok(());
        }
        let LibraryEntry {
            version,
            path,
            photo,
        } = entry;
        let standing = self.standing(&path)?;
        arrived
            .versions
            .push((path.clone(), photo.map(|_| version)));
        match (photo, standing) {
            (None, Standing::File { id, stamp, record })
                if is_the_librarys(record.as_ref(), stamp, known) =>
            {
                if self.shelf.remove(&path, id, stamp)? {
                    arrived.forgotten.push(id);
                }
            }
            (None, Standing::Nothing | Standing::File { .. } | Standing::Other) => {}
            (Some(photo), Standing::Nothing) => self.put(path, photo, arrived, shown)?,
            (Some(photo), Standing::File { id, stamp, record }) => {
                if self.is_same(&path, stamp, record.as_ref(), photo)? {
                    let record =
                        match self.retimed(&path, id, stamp, record.as_ref(), known, photo)? {
                            None => self.adopted(&path, id, stamp, record.as_ref(), photo)?,
                            retimed => retimed,
                        };
                    arrived.records.extend(record);
                } else if is_the_librarys(record.as_ref(), stamp, known)
                    && self.shelf.remove(&path, id, stamp)?
                {
                    arrived.forgotten.push(id);
                    self.put(path, photo, arrived, shown)?;
                } else {
                    self.put_beside(&path, photo, arrived, shown)?;
                }
            }
            (Some(photo), Standing::Other) => self.put_beside(&path, photo, arrived, shown)?,
        }
        Ok(())
    }

    fn standing(&self, path: &LibraryPath) -> Result<Standing, ArrivalError> {
        let facts = match self.spool.metadata(&SpoolPath::Entry(path.clone())) {
            Ok(facts) => facts,
            Err(error) if error.is_missing() => return Ok(Standing::Nothing),
            // A file stands where a folder of it should.
            Err(error) if error.source.kind() == std::io::ErrorKind::NotADirectory => {
                return Ok(Standing::Other);
            }
            Err(error) => return Err(error.into()),
        };
        Ok(match facts.kind {
            Kind::File => {
                let record = self
                    .journal
                    .file(facts.id)?
                    .filter(|record| record.path == *path);
                Standing::File {
                    id: facts.id,
                    stamp: facts.stamp(),
                    record,
                }
            }
            Kind::Folder | Kind::Link | Kind::Special => Standing::Other,
        })
    }

    fn put(
        &self,
        path: LibraryPath,
        photo: LibraryPhoto,
        arrived: &mut RemoteChanges,
        shown: &mut Shown,
    ) -> Result<(), ArrivalError> {
        let stamp = Stamp {
            size: photo.size,
            mtime_ns: photo.mtime_ns,
        };
        match self
            .shelf
            .create(&path, &Placeholder::new(photo.fingerprint, stamp))
        {
            Ok(Some(id)) => {
                shown.arrived += 1;
                let state = FileState::Placeholder {
                    fingerprint: photo.fingerprint,
                };
                arrived
                    .records
                    .push((id, FileRecord { path, stamp, state }));
                Ok(())
            }
            // Somebody was faster, this moment.
            Ok(None) => self.put_beside(&path, photo, arrived, shown),
            Err(error) if is_about_the_name(&error) => {
                tracing::warn!(%error, "a photo of the library cannot be shown under its name here");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Under the first free name that says what it is. The library hears of that name, so that
    /// every device sees both photos.
    fn put_beside(
        &self,
        path: &LibraryPath,
        photo: LibraryPhoto,
        arrived: &mut RemoteChanges,
        shown: &mut Shown,
    ) -> Result<(), ArrivalError> {
        let stamp = Stamp {
            size: photo.size,
            mtime_ns: photo.mtime_ns,
        };
        for number in 1..=OTHER_NAMES_MAX {
            let Some(other) = other_name(path, number) else {
                break;
            };
            if let Standing::File { stamp, record, .. } = self.standing(&other)?
                && self.is_same(&other, stamp, record.as_ref(), photo)?
            {
                return Ok(());
            }
            let put = self
                .shelf
                .create(&other, &Placeholder::new(photo.fingerprint, stamp));
            let id = match put {
                Ok(Some(id)) => id,
                Ok(None) => continue,
                Err(error) if is_about_the_name(&error) => break,
                Err(error) => return Err(error.into()),
            };
            tracing::warn!(
                "two devices gave different photos one name; the other one is shown beside ours"
            );
            tracing::debug!(%path, %other, "a conflict");
            (shown.arrived, shown.conflicts) = (shown.arrived + 1, shown.conflicts + 1);
            let (fingerprint, mtime_ns) = (photo.fingerprint, photo.mtime_ns);
            arrived.puts.push(NameChange::Put {
                path: other.clone(),
                fingerprint,
                mtime_ns,
            });
            let state = FileState::Placeholder { fingerprint };
            arrived.records.push((
                id,
                FileRecord {
                    path: other,
                    stamp,
                    state,
                },
            ));
            return Ok(());
        }
        tracing::error!(
            "a photo of the library has no place here: something else stands under each of its names"
        );
        tracing::debug!(%path, "not shown");
        Ok(())
    }

    /// Whether what stands at `path` is this photo.
    fn is_same(
        &self,
        path: &LibraryPath,
        stamp: Stamp,
        record: Option<&FileRecord>,
        photo: LibraryPhoto,
    ) -> Result<bool, ArrivalError> {
        if stamp.size != photo.size {
            return Ok(false);
        }
        match record
            .filter(|record| record.stamp == stamp)
            .and_then(|record| content(&record.state))
        {
            Some(fingerprint) => Ok(fingerprint == photo.fingerprint),
            // Nobody has looked at it yet.
            None => Ok(self.content_of(path)? == photo.fingerprint),
        }
    }

    fn content_of(&self, path: &LibraryPath) -> Result<Fingerprint, SpoolError> {
        if let Some(placeholder) = self.spool.placeholder(path)? {
            return Ok(placeholder.fingerprint);
        }
        fingerprint_of(&self.spool.open_read(path)?)
            .map_err(|source| SpoolError::of("read", path, source))
    }

    /// A photo that only got another time gets it here, too.
    fn retimed(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        record: Option<&FileRecord>,
        known: Option<u64>,
        photo: LibraryPhoto,
    ) -> Result<Option<(FileId, FileRecord)>, ArrivalError> {
        let Some(record) = record.filter(|record| is_the_librarys(Some(record), stamp, known))
        else {
            return Ok(None);
        };
        if stamp.mtime_ns == photo.mtime_ns {
            return Ok(None);
        }
        let retimed = self.shelf.set_mtime(path, id, stamp, photo.mtime_ns)?;
        Ok(retimed.map(|stamp| {
            (
                id,
                FileRecord {
                    stamp,
                    ..record.clone()
                },
            )
        }))
    }

    /// A placeholder that a crash kept from being entered is entered now. Other files are the
    /// intake's affair.
    fn adopted(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        record: Option<&FileRecord>,
        photo: LibraryPhoto,
    ) -> Result<Option<(FileId, FileRecord)>, ArrivalError> {
        if record.is_some() || self.spool.placeholder(path)?.is_none() {
            return Ok(None);
        }
        let state = FileState::Placeholder {
            fingerprint: photo.fingerprint,
        };
        Ok(Some((
            id,
            FileRecord {
                path: path.clone(),
                stamp,
                state,
            },
        )))
    }
}

/// Whether a file is exactly what the library had under its name: then its bytes are on the server,
/// and nobody changed it here.
fn is_the_librarys(record: Option<&FileRecord>, stamp: Stamp, known: Option<u64>) -> bool {
    let settled = record.filter(|record| record.stamp == stamp && known.is_some());
    settled.is_some_and(|record| {
        matches!(
            record.state,
            FileState::BackedUp { .. } | FileState::Placeholder { .. }
        )
    })
}

fn content(state: &FileState) -> Option<Fingerprint> {
    match state {
        FileState::Pending { fingerprint }
        | FileState::BackedUp { fingerprint }
        | FileState::Placeholder { fingerprint } => Some(*fingerprint),
        FileState::Failed { fingerprint, .. } => *fingerprint,
        FileState::Local { .. } => None,
    }
}

/// `trip/a.jpg` becomes `trip/a (from another device).jpg`, then `trip/a (from another device
/// 2).jpg`. Nothing if that is too long.
fn other_name(path: &LibraryPath, number: u32) -> Option<LibraryPath> {
    let words = if number == 1 {
        "from another device".to_owned()
    } else {
        format!("from another device {number}")
    };
    let name = path.name();
    let (stem, end) = match name.rsplit_once('.') {
        Some((stem, end)) if !stem.is_empty() => (stem, format!(".{end}")),
        Some(_) | None => (name, String::new()),
    };
    SpoolPath::parent_of(path)
        .join(&format!("{stem} ({words}){end}"))
        .ok()
}

/// Whether it is only this one name that the disk does not take.
fn is_about_the_name(error: &SpoolError) -> bool {
    use std::io::ErrorKind::{
        AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory,
    };

    matches!(
        error.source.kind(),
        InvalidFilename | InvalidInput | NotADirectory | AlreadyExists | IsADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes away whatever it is told to.
    #[derive(Clone, Debug, Default)]
    struct Eager(Arc<Mutex<Vec<FileId>>>);

    impl PlaceholderStore for Eager {
        fn create(&self, _: &LibraryPath, _: &Placeholder) -> Result<Option<FileId>, SpoolError> {
            Ok(None)
        }

        fn remove(&self, _: &LibraryPath, id: FileId, _: Stamp) -> Result<bool, SpoolError> {
            self.0.lock().unwrap().push(id);
            Ok(true)
        }

        fn set_mtime(
            &self,
            _: &LibraryPath,
            _: FileId,
            _: Stamp,
            _: i64,
        ) -> Result<Option<Stamp>, SpoolError> {
            Ok(None)
        }
    }

    #[test]
    fn a_remote_removal_deletes_only_a_file_that_is_exactly_as_in_the_library() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let journal = Arc::new(Journal::open(&home.path().join("journal.redb")).unwrap());
        let (shelf, path) = (Eager::default(), LibraryPath::new("a.jpg").unwrap());
        let arriving = Arriving::new(spool.clone(), Arc::clone(&journal), Box::new(shelf.clone()));
        std::fs::write(spool.root().join("a.jpg"), b"a photo").unwrap();
        let (id, stamp) = Spool::identify(&spool.open_read(&path).unwrap()).unwrap();
        let fingerprint = Fingerprint::of(b"a photo");
        let older = Stamp {
            mtime_ns: stamp.mtime_ns - 1,
            ..stamp
        };
        let why = "no reason".to_owned();
        for (version, (state, stamp, goes)) in (1..).step_by(2).zip([
            (FileState::Pending { fingerprint }, stamp, false),
            (FileState::Local { why: why.clone() }, stamp, false),
            (
                FileState::Failed {
                    fingerprint: Some(fingerprint),
                    why,
                },
                stamp,
                false,
            ),
            (FileState::BackedUp { fingerprint }, older, false),
            (FileState::BackedUp { fingerprint }, stamp, true),
        ]) {
            let record = FileRecord {
                path: path.clone(),
                stamp,
                state,
            };
            journal.record(vec![(id, record.clone())]).unwrap();
            let known = vec![(path.clone(), Some(version))];
            journal
                .add_remote(RemoteChanges {
                    versions: known,
                    position: version,
                    ..RemoteChanges::default()
                })
                .unwrap();
            let removed = LibraryEntry {
                version: version + 1,
                path: path.clone(),
                photo: None,
            };
            let feed = LibraryFeed {
                entries: vec![removed],
                next: version + 1,
                more: false,
                wanted: 0,
            };
            arriving.show(feed).unwrap();
            assert_eq!(!shelf.0.lock().unwrap().is_empty(), goes, "{record:?}");
            assert_eq!(journal.file(id).unwrap().is_none(), goes, "{record:?}");
        }
    }
}
