//! The image directory: verified images under their fingerprints, in 256 folders by the first byte.
//!
//! A folder per first byte keeps each below 40,000 names at ten million images, which every
//! filesystem and every administrator's `ls` can take.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::{ByteRange, Fingerprint};
use parking_lot::{Mutex, MutexGuard};

use super::super::disk::Disk;
use super::super::error::BlobError;
use super::super::prefix_lock::Prefix;
use super::file::{hash, is_at, open_if_exists};
use super::folder_lock::FolderLock;

/// Whether the folders of the image directory are known to exist, durably.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Folders {
    #[default]
    Unknown,
    Durable,
}

/// The directory of verified images.
#[derive(Debug)]
pub(super) struct ImageDir {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) quarantine: PathBuf,
    images: PathBuf,
    /// One lock per folder, held for a rename and never for a sync: it keeps an image that is being
    /// repaired from being moved to the quarantine.
    rename_locks: Vec<Mutex<()>>,
    folders: Mutex<Folders>,
}

impl ImageDir {
    /// The image directory `images` with its `quarantine`.
    pub(super) fn new(disk: Arc<dyn Disk>, images: PathBuf, quarantine: PathBuf) -> Self {
        let rename_locks = (0..=u8::MAX).map(|_| Mutex::default()).collect();
        Self {
            disk,
            quarantine,
            images,
            rename_locks,
            folders: Mutex::default(),
        }
    }

    /// The length of an image in bytes; `None` if it is not stored.
    pub(super) fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError> {
        let path = self.path(fingerprint);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("stat", &path)(error)),
        }
    }

    /// Opens an image that must contain the range.
    pub(super) fn open(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<File, BlobError> {
        let path = self.path(fingerprint);
        let file = open_if_exists(&path)?.ok_or(BlobError::Missing(fingerprint))?;
        let found = file.metadata().map_err(BlobError::io("stat", &path))?.len();
        if found < range.end() {
            return Err(BlobError::TooShort {
                fingerprint,
                found,
                range,
            });
        }
        Ok(file)
    }

    /// Renames a file whose content is verified and durable to the image's name. The name is
    /// durable after [`Self::sync`]. The image is not removed while the returned lock is held.
    pub(super) fn place(
        &self,
        from: &Path,
        fingerprint: Fingerprint,
    ) -> Result<FolderLock, BlobError> {
        let lock = self.lock_shared(fingerprint)?;
        let _renaming = self.lock_renames(fingerprint);
        let to = self.path(fingerprint);
        self.disk
            .rename(from, &to)
            .map_err(BlobError::io("move an upload to", &to))?;
        heirloom_crash::reached(CrashPoint::ImageNamed);
        Ok(lock)
    }

    /// Keeps the images of a prefix from being removed. Waits while some are being removed.
    pub(super) fn lock_shared(&self, fingerprint: Fingerprint) -> Result<FolderLock, BlobError> {
        self.create_folders()?;
        FolderLock::shared(&self.folder(Prefix::of(fingerprint)))
    }

    /// Makes the names in an image's folder durable.
    pub(super) fn sync(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        let folder = self.folder(Prefix::of(fingerprint));
        self.disk
            .sync_folder(&folder)
            .map_err(BlobError::io("sync", &folder))?;
        heirloom_crash::reached(CrashPoint::ImageNameSynced);
        Ok(())
    }

    /// Makes the names of many images durable, with one sync per folder.
    pub(super) fn sync_all(
        &self,
        fingerprints: impl Iterator<Item = Fingerprint>,
    ) -> Result<(), BlobError> {
        let by_folder: BTreeMap<Prefix, Fingerprint> = fingerprints
            .map(|fingerprint| (Prefix::of(fingerprint), fingerprint))
            .collect();
        by_folder
            .into_values()
            .try_for_each(|fingerprint| self.sync(fingerprint))
    }

    /// Moves an image to the quarantine if it is corrupt.
    pub(super) fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        let from = self.path(fingerprint);
        let Some(file) = open_if_exists(&from)? else {
            return Ok(());
        };
        if hash(&file, &from)? == fingerprint {
            return Ok(());
        }
        if self.move_to_quarantine(&file, &from, fingerprint)? {
            self.sync(fingerprint)?;
            let sync = BlobError::io("sync", &self.quarantine);
            self.disk.sync_folder(&self.quarantine).map_err(sync)?;
        }
        Ok(())
    }

    /// Moves the file that was found corrupt, unless another has replaced it since.
    fn move_to_quarantine(
        &self,
        corrupt: &File,
        from: &Path,
        fingerprint: Fingerprint,
    ) -> Result<bool, BlobError> {
        let _renaming = self.lock_renames(fingerprint);
        if !is_at(corrupt, from)? {
            return Ok(false);
        }
        let to = self.quarantine_path(fingerprint);
        self.disk
            .rename(from, &to)
            .map_err(BlobError::io("move a corrupt image to", &to))?;
        heirloom_crash::reached(CrashPoint::DamageQuarantined);
        Ok(true)
    }

    /// Creates all folders before the first image is stored: one sync for all of them, where each
    /// on its own would cost one.
    pub(super) fn create_folders(&self) -> Result<(), BlobError> {
        let mut folders = self.folders.lock();
        if *folders == Folders::Durable {
            return Ok(());
        }
        for byte in 0..=u8::MAX {
            let folder = self.folder(Prefix::from_byte(byte));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BlobError::io("create", &folder)(error)),
            }
        }
        // Even if they existed: whoever created them may have been stopped before this.
        self.disk
            .sync_folder(&self.images)
            .map_err(BlobError::io("sync", &self.images))?;
        *folders = Folders::Durable;
        Ok(())
    }

    fn lock_renames(&self, fingerprint: Fingerprint) -> MutexGuard<'_, ()> {
        self.rename_locks[usize::from(Prefix::of(fingerprint).byte())].lock()
    }

    /// The folder of a prefix.
    pub(super) fn folder(&self, prefix: Prefix) -> PathBuf {
        self.images.join(format!("{:02x}", prefix.byte()))
    }

    /// The path of an image.
    pub(super) fn path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.folder(Prefix::of(fingerprint))
            .join(fingerprint.to_string())
    }

    /// The path of an image in quarantine.
    pub(super) fn quarantine_path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.quarantine.join(fingerprint.to_string())
    }
}
