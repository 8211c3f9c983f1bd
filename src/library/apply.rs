//! Applies a page of the change feed: what a change of another device means for the files here.
//!
//! No file is overwritten, unless it is exactly what the library had under its name before: then
//! the change is the next version of the same file, and the server has the bytes that it replaces.
//! Where two devices gave one name to different photos, ours keeps it, and the other is created
//! here and kept in the library under a name that says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{LibraryEntry, LibraryFeed, LibraryPhoto};
use heirloom_protocol::{Fingerprint, LibraryPath};

use super::error::FeedError;
use super::placeholder_store::PlaceholderStore;
use crate::journal::{FileId, FileRecord, FileState, Journal, NameChange, RemoteChanges, Stamp};
use crate::spool::{Kind, Placeholder, Spool, SpoolError, SpoolPath, fingerprint_of};

/// Names that are tried for a photo whose own is taken, before it is skipped with a log line.
const CONFLICT_NAMES_MAX: u32 = 20;

/// Applies changes of other devices to a placeholder store.
pub(super) struct Applier {
    spool: Spool,
    journal: Arc<Journal>,
    store: Box<dyn PlaceholderStore>,
    /// Whether the spool was found empty and is being filled: then the versions in the journal do
    /// not mean that their files exist.
    refilling: AtomicBool,
}

/// What applying one page has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AppliedPage {
    /// Placeholders created.
    pub(super) created: u64,
    /// Those of them under another name.
    pub(super) conflicts: u64,
}

/// What is at a path of the spool.
#[derive(Debug)]
enum LocalEntry {
    Missing,
    File {
        id: FileId,
        stamp: Stamp,
        record: Option<FileRecord>,
    },
    /// A folder, a link or a special file.
    Other,
}

impl Applier {
    pub(super) fn new(
        spool: Spool,
        journal: Arc<Journal>,
        store: Box<dyn PlaceholderStore>,
    ) -> Self {
        Self {
            spool,
            journal,
            store,
            refilling: AtomicBool::new(false),
        }
    }

    /// Restarts the feed from the beginning if the spool is empty, however much of it was applied
    /// before. (Emptying the mount removes the photos from the library, too; only an emptied spool
    /// does not.)
    pub(super) fn restart_if_spool_is_empty(&self) -> Result<(), FeedError> {
        let mut is_empty = true;
        self.spool.walk_below(SpoolPath::Root, &mut |_| {
            is_empty = false;
            std::ops::ControlFlow::Break(())
        });
        if is_empty && self.journal.feed_position()? > 0 {
            tracing::info!("the spool is empty: creating all files of the library again");
            self.refilling.store(true, Ordering::Release);
            self.journal.add_remote(RemoteChanges::default())?;
        }
        Ok(())
    }

    /// The feed has been applied to its end.
    pub(super) fn caught_up(&self) {
        self.refilling.store(false, Ordering::Release);
    }

    /// Applies a page. What it creates is on the disk before the journal records the page as
    /// applied. Blocks.
    pub(super) fn apply(&self, feed: LibraryFeed) -> Result<AppliedPage, FeedError> {
        let paths: Vec<_> = feed
            .entries
            .iter()
            .map(|entry| entry.path.clone())
            .collect();
        let versions = self.journal.name_versions(&paths)?;
        let mut page = AppliedPage::default();
        let mut update = RemoteChanges {
            position: feed.next,
            ..RemoteChanges::default()
        };
        for (entry, known) in feed.entries.into_iter().zip(versions) {
            self.apply_entry(entry, known, &mut update, &mut page)?;
        }
        if page.created > 0 {
            self.spool.sync_all()?;
            heirloom_crash::reached(CrashPoint::PlaceholdersSynced);
            tracing::info!(photos = page.created, "added photos of other devices");
        }
        self.journal.add_remote(update)?;
        if page.created > 0 {
            heirloom_crash::reached(CrashPoint::RemoteNamesRecorded);
        }
        Ok(page)
    }

    /// Applies one change. `known` is the path's version in the journal.
    fn apply_entry(
        &self,
        entry: LibraryEntry,
        known: Option<u64>,
        update: &mut RemoteChanges,
        page: &mut AppliedPage,
    ) -> Result<(), FeedError> {
        // Our own changes come back in the feed.
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
        let local = self.local_entry(&path)?;
        update.versions.push((path.clone(), photo.map(|_| version)));
        match (photo, local) {
            (None, LocalEntry::File { id, stamp, record })
                if matches_library(record.as_ref(), stamp, known) =>
            {
                if self.store.remove(&path, id, stamp)? {
                    update.forgotten.push(id);
                }
            }
            (None, LocalEntry::Missing | LocalEntry::File { .. } | LocalEntry::Other) => {}
            (Some(photo), LocalEntry::Missing) => self.create(path, photo, update, page)?,
            (Some(photo), LocalEntry::File { id, stamp, record }) => {
                if self.has_content(&path, stamp, record.as_ref(), photo)? {
                    let record =
                        match self.apply_mtime(&path, id, stamp, record.as_ref(), known, photo)? {
                            None => self.adopt(&path, id, stamp, record.as_ref(), photo)?,
                            dated => dated,
                        };
                    update.records.extend(record);
                } else if matches_library(record.as_ref(), stamp, known)
                    && self.store.remove(&path, id, stamp)?
                {
                    update.forgotten.push(id);
                    self.create(path, photo, update, page)?;
                } else {
                    self.create_conflict_copy(&path, photo, update, page)?;
                }
            }
            (Some(photo), LocalEntry::Other) => {
                self.create_conflict_copy(&path, photo, update, page)?;
            }
        }
        Ok(())
    }

    fn local_entry(&self, path: &LibraryPath) -> Result<LocalEntry, FeedError> {
        let facts = match self.spool.metadata(&SpoolPath::Entry(path.clone())) {
            Ok(facts) => facts,
            Err(error) if error.is_missing() => return Ok(LocalEntry::Missing),
            // A parent folder of the path is a file here.
            Err(error) if error.source.kind() == std::io::ErrorKind::NotADirectory => {
                return Ok(LocalEntry::Other);
            }
            Err(error) => return Err(error.into()),
        };
        Ok(match facts.kind {
            Kind::File => {
                let record = self
                    .journal
                    .file(facts.id)?
                    .filter(|record| record.path == *path);
                LocalEntry::File {
                    id: facts.id,
                    stamp: facts.stamp(),
                    record,
                }
            }
            Kind::Folder | Kind::Link | Kind::Special => LocalEntry::Other,
        })
    }

    /// Creates a placeholder under the photo's own name.
    fn create(
        &self,
        path: LibraryPath,
        photo: LibraryPhoto,
        update: &mut RemoteChanges,
        page: &mut AppliedPage,
    ) -> Result<(), FeedError> {
        let stamp = Stamp {
            size: photo.size,
            mtime_ns: photo.mtime_ns,
        };
        match self
            .store
            .create(&path, &Placeholder::new(photo.fingerprint, stamp))
        {
            Ok(Some(id)) => {
                page.created += 1;
                update
                    .records
                    .push((id, placeholder_record(path, stamp, photo)));
                Ok(())
            }
            // A program has taken the name in this moment.
            Ok(None) => self.create_conflict_copy(&path, photo, update, page),
            Err(error) if is_about_the_name(&error) => {
                tracing::warn!(
                    %error,
                    "cannot create a photo of the library here: the disk refuses its name"
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a placeholder under the first free name that says that the photo is another
    /// device's. The library gets that name, so that every device sees both photos.
    fn create_conflict_copy(
        &self,
        path: &LibraryPath,
        photo: LibraryPhoto,
        update: &mut RemoteChanges,
        page: &mut AppliedPage,
    ) -> Result<(), FeedError> {
        let stamp = Stamp {
            size: photo.size,
            mtime_ns: photo.mtime_ns,
        };
        for number in 1..=CONFLICT_NAMES_MAX {
            let Some(name) = conflict_name(path, number) else {
                break;
            };
            if let LocalEntry::File { stamp, record, .. } = self.local_entry(&name)?
                && self.has_content(&name, stamp, record.as_ref(), photo)?
            {
                return Ok(());
            }
            let created = self
                .store
                .create(&name, &Placeholder::new(photo.fingerprint, stamp));
            let id = match created {
                Ok(Some(id)) => id,
                Ok(None) => continue,
                Err(error) if is_about_the_name(&error) => break,
                Err(error) => return Err(error.into()),
            };
            tracing::warn!(
                "name conflict: another device's photo was created as \"... (from another device)\""
            );
            tracing::debug!(%path, %name, "name conflict");
            page.created += 1;
            page.conflicts += 1;
            update.puts.push(NameChange::Put {
                path: name.clone(),
                fingerprint: photo.fingerprint,
                mtime_ns: photo.mtime_ns,
            });
            update
                .records
                .push((id, placeholder_record(name, stamp, photo)));
            return Ok(());
        }
        tracing::error!(
            "cannot create a photo of the library here: all names for it are taken or too long"
        );
        tracing::debug!(%path, "not created");
        Ok(())
    }

    /// Whether the file at `path` has this photo's content.
    fn has_content(
        &self,
        path: &LibraryPath,
        stamp: Stamp,
        record: Option<&FileRecord>,
        photo: LibraryPhoto,
    ) -> Result<bool, FeedError> {
        if stamp.size != photo.size {
            return Ok(false);
        }
        let recorded = record
            .filter(|record| record.stamp == stamp)
            .and_then(|record| recorded_fingerprint(&record.state));
        match recorded {
            Some(fingerprint) => Ok(fingerprint == photo.fingerprint),
            // The file was not hashed yet.
            None => Ok(self.fingerprint_at(path)? == photo.fingerprint),
        }
    }

    fn fingerprint_at(&self, path: &LibraryPath) -> Result<Fingerprint, SpoolError> {
        if let Some(placeholder) = self.spool.placeholder(path)? {
            return Ok(placeholder.fingerprint);
        }
        fingerprint_of(&self.spool.open_read(path)?)
            .map_err(|source| SpoolError::of("read", path, source))
    }

    /// Sets the photo's modification time, if that is all that has changed; returns the file's new
    /// record.
    fn apply_mtime(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        record: Option<&FileRecord>,
        known: Option<u64>,
        photo: LibraryPhoto,
    ) -> Result<Option<(FileId, FileRecord)>, FeedError> {
        let Some(record) = record.filter(|record| matches_library(Some(record), stamp, known))
        else {
            return Ok(None);
        };
        if stamp.mtime_ns == photo.mtime_ns {
            return Ok(None);
        }
        let dated = self.store.set_mtime(path, id, stamp, photo.mtime_ns)?;
        Ok(dated.map(|stamp| {
            (
                id,
                FileRecord {
                    stamp,
                    ..record.clone()
                },
            )
        }))
    }

    /// The record of a placeholder that a crash has left without one. Files that are no placeholder
    /// are left to intake.
    fn adopt(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        record: Option<&FileRecord>,
        photo: LibraryPhoto,
    ) -> Result<Option<(FileId, FileRecord)>, FeedError> {
        if record.is_some() || self.spool.placeholder(path)?.is_none() {
            return Ok(None);
        }
        Ok(Some((id, placeholder_record(path.clone(), stamp, photo))))
    }
}

fn placeholder_record(path: LibraryPath, stamp: Stamp, photo: LibraryPhoto) -> FileRecord {
    FileRecord {
        path,
        stamp,
        state: FileState::Placeholder {
            fingerprint: photo.fingerprint,
        },
    }
}

/// Whether a file is exactly what the library had under its name: then its bytes are on the server,
/// and it was not changed here.
fn matches_library(record: Option<&FileRecord>, stamp: Stamp, known: Option<u64>) -> bool {
    let unchanged = record.filter(|record| record.stamp == stamp && known.is_some());
    unchanged.is_some_and(|record| {
        matches!(
            record.state,
            FileState::BackedUp { .. } | FileState::Placeholder { .. }
        )
    })
}

fn recorded_fingerprint(state: &FileState) -> Option<Fingerprint> {
    match state {
        FileState::Pending { fingerprint }
        | FileState::BackedUp { fingerprint }
        | FileState::Placeholder { fingerprint } => Some(*fingerprint),
        FileState::Failed { fingerprint, .. } => *fingerprint,
        FileState::Local { .. } => None,
    }
}

/// `trip/a.jpg` becomes `trip/a (from another device).jpg`, then `trip/a (from another device
/// 2).jpg`; nothing if that is too long.
fn conflict_name(path: &LibraryPath, number: u32) -> Option<LibraryPath> {
    let suffix = if number == 1 {
        "from another device".to_owned()
    } else {
        format!("from another device {number}")
    };
    let name = path.name();
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        Some(_) | None => (name, String::new()),
    };
    SpoolPath::parent_of(path)
        .join(&format!("{stem} ({suffix}){extension}"))
        .ok()
}

/// Whether the disk refuses only this one name.
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
    use parking_lot::Mutex;

    use super::*;

    /// Removes whatever it is asked to.
    #[derive(Clone, Debug, Default)]
    struct RemovingStore {
        removed: Arc<Mutex<Vec<FileId>>>,
    }

    impl PlaceholderStore for RemovingStore {
        fn create(&self, _: &LibraryPath, _: &Placeholder) -> Result<Option<FileId>, SpoolError> {
            Ok(None)
        }

        fn remove(&self, _: &LibraryPath, id: FileId, _: Stamp) -> Result<bool, SpoolError> {
            self.removed.lock().push(id);
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
        let (store, path) = (RemovingStore::default(), LibraryPath::new("a.jpg").unwrap());
        let applier = Applier::new(spool.clone(), Arc::clone(&journal), Box::new(store.clone()));
        std::fs::write(spool.root().join("a.jpg"), b"a photo").unwrap();
        let (id, stamp) = Spool::identify(&spool.open_read(&path).unwrap()).unwrap();
        let fingerprint = Fingerprint::of(b"a photo");
        let older = Stamp {
            mtime_ns: stamp.mtime_ns - 1,
            ..stamp
        };
        let why = "no reason".to_owned();
        for (version, (state, stamp, is_removed)) in (1..).step_by(2).zip([
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
            applier.apply(feed).unwrap();
            assert_eq!(!store.removed.lock().is_empty(), is_removed, "{record:?}");
            assert_eq!(
                journal.file(id).unwrap().is_none(),
                is_removed,
                "{record:?}"
            );
        }
    }
}
