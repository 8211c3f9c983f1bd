//! The shelf: verified images under their fingerprints, in 256 folders by the first byte.
//!
//! A folder per first byte keeps each below 40,000 names at ten million images, which every
//! filesystem and every administrator's `ls` can take.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use heirloom_crash::CrashPoint;
use heirloom_protocol::{ByteRange, Fingerprint, Fingerprinter};

use super::super::disk::Disk;
use super::super::{BlobError, Prefix};

mod prefixes;

pub(super) use prefixes::FolderLock;

/// Bytes read at a time when an image is hashed again.
const HASH_BYTES: usize = 256 << 10;

/// Whether the folders of the shelf are known to exist, durably.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Folders {
    #[default]
    Unknown,
    Durable,
}

/// Verified images.
#[derive(Debug)]
pub(super) struct ImageDir {
    disk: Arc<dyn Disk>,
    images: PathBuf,
    quarantine: PathBuf,
    /// One lock for each folder, held for a rename and never for a sync: it keeps an image that is
    /// just being healed from being carried off to the quarantine.
    locks: Vec<Mutex<()>>,
    folders: Mutex<Folders>,
}

impl ImageDir {
    pub(super) fn new(disk: Arc<dyn Disk>, images: PathBuf, quarantine: PathBuf) -> Self {
        let locks = (0..=u8::MAX).map(|_| Mutex::default()).collect();
        Self {
            disk,
            images,
            quarantine,
            locks,
            folders: Mutex::default(),
        }
    }

    /// The length of an image in bytes; none if it is not here.
    pub(super) fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError> {
        let path = self.path(fingerprint);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("look at", &path)(error)),
        }
    }

    /// Opens an image that must reach at least to the range's end.
    pub(super) fn open(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<File, BlobError> {
        let path = self.path(fingerprint);
        let file = open_if_there(&path)?.ok_or(BlobError::Missing(fingerprint))?;
        let found = file
            .metadata()
            .map_err(BlobError::io("look at", &path))?
            .len();
        if found < range.end() {
            return Err(BlobError::TooShort {
                fingerprint,
                found,
                range,
            });
        }
        Ok(file)
    }

    /// Moves a file whose content is verified and durable to its name. The name is durable after
    /// [`Self::sync`]. As long as the answer is held, it is not removed.
    pub(super) fn place(
        &self,
        from: &Path,
        fingerprint: Fingerprint,
    ) -> Result<FolderLock, BlobError> {
        let shared = self.share(fingerprint)?;
        let _folder = self.lock(fingerprint);
        let to = self.path(fingerprint);
        self.disk
            .rename(from, &to)
            .map_err(BlobError::io("move an upload to", &to))?;
        heirloom_crash::reached(CrashPoint::ImageNamed);
        Ok(shared)
    }

    /// Makes the names in an image's folder durable.
    pub(super) fn sync(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        let folder = self.folder(fingerprint);
        self.disk
            .sync_folder(&folder)
            .map_err(BlobError::io("sync", &folder))?;
        heirloom_crash::reached(CrashPoint::ImageNameSynced);
        Ok(())
    }

    /// The same for many images; a folder that many of them are in is synced once.
    pub(super) fn sync_all(
        &self,
        fingerprints: impl Iterator<Item = Fingerprint>,
    ) -> Result<(), BlobError> {
        let by_folder: BTreeMap<u8, Fingerprint> = fingerprints
            .map(|fingerprint| (fingerprint.as_bytes()[0], fingerprint))
            .collect();
        by_folder
            .into_values()
            .try_for_each(|fingerprint| self.sync(fingerprint))
    }

    /// Moves an image away if it is damaged.
    pub(super) fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        let from = self.path(fingerprint);
        let Some(file) = open_if_there(&from)? else {
            return Ok(());
        };
        if hash(&file, &from)? == fingerprint {
            return Ok(());
        }
        if self.carry_off(&file, &from, fingerprint)? {
            self.sync(fingerprint)?;
            let sync = BlobError::io("sync", &self.quarantine);
            self.disk.sync_folder(&self.quarantine).map_err(sync)?;
        }
        Ok(())
    }

    /// Moves the file that was found damaged, unless another has taken its place since.
    fn carry_off(
        &self,
        damaged: &File,
        from: &Path,
        fingerprint: Fingerprint,
    ) -> Result<bool, BlobError> {
        let _folder = self.lock(fingerprint);
        if !stands_at(damaged, from)? {
            return Ok(false);
        }
        let to = self.quarantine.join(fingerprint.to_string());
        self.disk
            .rename(from, &to)
            .map_err(BlobError::io("move a damaged image to", &to))?;
        heirloom_crash::reached(CrashPoint::DamageQuarantined);
        Ok(true)
    }

    /// Makes all folders before the first image is placed: one sync for all of them, where each on
    /// its own would cost one.
    fn make_folders(&self) -> Result<(), BlobError> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if *folders == Folders::Durable {
            return Ok(());
        }
        for first_byte in 0..=u8::MAX {
            let folder = self.images.join(format!("{first_byte:02x}"));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BlobError::io("make", &folder)(error)),
            }
        }
        // Also if they were there: whoever made them may have been stopped before this.
        self.disk
            .sync_folder(&self.images)
            .map_err(BlobError::io("sync", &self.images))?;
        *folders = Folders::Durable;
        Ok(())
    }

    fn lock(&self, fingerprint: Fingerprint) -> std::sync::MutexGuard<'_, ()> {
        let folder = usize::from(fingerprint.as_bytes()[0]);
        // It guards an order, not data: a panic elsewhere has not spoiled anything.
        self.locks[folder]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, fingerprint: Fingerprint) -> PathBuf {
        self.section(Prefix::of(fingerprint))
    }

    fn section(&self, section: Prefix) -> PathBuf {
        self.images.join(format!("{:02x}", section.first_byte()))
    }

    fn path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.folder(fingerprint).join(fingerprint.to_string())
    }
}

/// Opens a file for reading; none if there is none.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, BlobError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BlobError::io("open", path)(error)),
    }
}

/// Whether `path` still leads to this very file.
pub(super) fn stands_at(file: &File, path: &Path) -> Result<bool, BlobError> {
    let ours = file.metadata().map_err(BlobError::io("look at", path))?;
    match fs::symlink_metadata(path) {
        Ok(theirs) => Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(BlobError::io("look at", path)(error)),
    }
}

/// Reads a file from its start and hashes it.
pub(super) fn hash(mut file: &File, path: &Path) -> Result<Fingerprint, BlobError> {
    let mut hashing = Fingerprinter::default();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hashing.finish()),
            Ok(length) => hashing.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BlobError::io("read back", path)(error)),
        }
    }
}
