//! Unfinished uploads: one sparse file each, shards written in place, so that assembling an image
//! copies nothing.
//!
//! Writers hold a shared flock(2) on the file; finishing and discarding hold an exclusive one. So a
//! late shard, from a second device or a second server process, never reaches a file that is being
//! hashed or is an image already: it waits, finds that its file was renamed, and creates a new one.
//! A crash releases the locks.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::super::disk::{Disk, drop_from_page_cache};
use super::super::error::BlobError;
use super::super::prefix_lock::SharedGuard;
use super::super::upload_key::UploadKey;
use super::file::{hash, is_at};
use super::image_dir::ImageDir;

/// The most uploads whose names are cached as durable. Dropping one from the cache costs a sync of
/// the directory, nothing else.
const NAMES_MAX: usize = 4096;

/// The directory of unfinished uploads.
#[derive(Debug)]
pub(super) struct PartialDir {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The inode numbers of upload files whose names are durable.
    durable_names: Mutex<HashMap<UploadKey, u64>>,
}

impl PartialDir {
    /// The directory of unfinished uploads at `folder`.
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self {
            disk,
            folder,
            durable_names: Mutex::default(),
        }
    }

    /// Writes a shard in place; content and name are durable on return.
    pub(super) fn write(
        &self,
        upload: UploadKey,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), BlobError> {
        let path = self.path(upload);
        let file = open_shared(&path)?;
        self.disk
            .write(&file, bytes, offset)
            .map_err(BlobError::io("write", &path))?;
        heirloom_crash::reached(CrashPoint::ShardWritten);
        self.disk
            .sync(&file, &path)
            .map_err(BlobError::io("sync", &path))?;
        let inode = file.metadata().map_err(BlobError::io("stat", &path))?.ino();
        self.make_name_durable(upload, inode)?;
        heirloom_crash::reached(CrashPoint::ShardSynced);
        Ok(())
    }

    /// Renames a file of the same directory, whose content is durable, to be an upload. Returns
    /// false if the upload exists already. The name is durable on return.
    pub(super) fn adopt(&self, upload: UploadKey, from: &Path) -> Result<bool, BlobError> {
        let to = self.path(upload);
        match self.disk.rename_to_new(from, &to) {
            Ok(()) => self.sync_folder().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(BlobError::io("move a partial image to", &to)(error)),
        }
    }

    /// Turns a complete upload into an image.
    pub(super) fn finish(
        &self,
        upload: UploadKey,
        size: u64,
        images: &ImageDir,
    ) -> Result<SharedGuard, BlobError> {
        let path = self.path(upload);
        let Some(file) = open_exclusive(&path)? else {
            return self.finished_before(upload.fingerprint, size, images);
        };
        let found = file.metadata().map_err(BlobError::io("stat", &path))?.len();
        if found != size {
            return Err(BlobError::WrongLength {
                expected: size,
                found,
            });
        }
        let found = hash(&file, &path)?;
        if found != upload.fingerprint {
            return Err(BlobError::WrongFingerprint {
                expected: upload.fingerprint,
                found,
            });
        }
        heirloom_crash::reached(CrashPoint::ImageHashed);
        self.disk
            .sync(&file, &path)
            .map_err(BlobError::io("sync", &path))?;
        heirloom_crash::reached(CrashPoint::ImageSynced);
        drop_from_page_cache(&file, &path);
        self.durable_names.lock().remove(&upload);
        let lock = images.place(&path, upload.fingerprint)?;
        images.sync(upload.fingerprint)?;
        self.sync_folder()?;
        Ok(SharedGuard::new(lock))
    }

    /// Removes an upload's file, if it exists.
    pub(super) fn discard(&self, upload: UploadKey) -> Result<(), BlobError> {
        let path = self.path(upload);
        if open_exclusive(&path)?.is_none() {
            return Ok(());
        }
        self.durable_names.lock().remove(&upload);
        self.disk
            .remove(&path)
            .map_err(BlobError::io("remove", &path))?;
        self.sync_folder()
    }

    /// Lists the uploads that have a file.
    pub(super) fn list(&self) -> Result<Vec<UploadKey>, BlobError> {
        let mut uploads = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(BlobError::io("list", &self.folder))? {
            let entry = entry.map_err(BlobError::io("list", &self.folder))?;
            uploads.extend(entry.file_name().to_str().and_then(parse));
        }
        Ok(uploads)
    }

    /// An upload may be finished twice: the second call finds the image in place and syncs what the
    /// first may not have reached.
    fn finished_before(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        images: &ImageDir,
    ) -> Result<SharedGuard, BlobError> {
        // Locked before looking: what is found must still exist when the index records it.
        let lock = images.lock_shared(fingerprint)?;
        match images.size(fingerprint)? {
            Some(found) if found == size => {
                images.sync(fingerprint)?;
                self.sync_folder()?;
                Ok(SharedGuard::new(lock))
            }
            Some(found) => Err(BlobError::WrongLength {
                expected: size,
                found,
            }),
            None => Err(BlobError::Missing(fingerprint)),
        }
    }

    fn make_name_durable(&self, upload: UploadKey, inode: u64) -> Result<(), BlobError> {
        if self.durable_names.lock().get(&upload) == Some(&inode) {
            return Ok(());
        }
        self.sync_folder()?;
        let mut names = self.durable_names.lock();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(upload, inode);
        Ok(())
    }

    fn sync_folder(&self) -> Result<(), BlobError> {
        self.disk
            .sync_folder(&self.folder)
            .map_err(BlobError::io("sync", &self.folder))
    }

    fn path(&self, upload: UploadKey) -> PathBuf {
        self.folder
            .join(format!("{}-{}", upload.user, upload.fingerprint))
    }
}

/// Parses a file name as an upload's key.
fn parse(name: &str) -> Option<UploadKey> {
    let (user, fingerprint) = name.rsplit_once('-')?;
    Some(UploadKey {
        user: UserId(user.parse().ok()?),
        fingerprint: fingerprint.parse().ok()?,
    })
}

/// Opens the file at `path`, creating it if missing, and locks it shared with other writers.
fn open_shared(path: &Path) -> Result<File, BlobError> {
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(BlobError::io("open", path))?;
        // Each iteration is an upload that was finished or discarded while we waited for its lock.
        if lock_if_still_at(&file, path, FlockOperation::LockShared)? {
            return Ok(file);
        }
    }
}

/// Opens the file at `path` and waits until no writer is left; `None` if it does not exist.
fn open_exclusive(path: &Path) -> Result<Option<File>, BlobError> {
    loop {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::io("open", path)(error)),
        };
        if lock_if_still_at(&file, path, FlockOperation::LockExclusive)? {
            return Ok(Some(file));
        }
    }
}

/// Waits for the lock; false if the file was renamed or removed meanwhile.
fn lock_if_still_at(
    file: &File,
    path: &Path,
    operation: FlockOperation,
) -> Result<bool, BlobError> {
    rustix::io::retry_on_intr(|| flock(file, operation))
        .map_err(|error| BlobError::io("lock", path)(error.into()))?;
    is_at(file, path)
}
