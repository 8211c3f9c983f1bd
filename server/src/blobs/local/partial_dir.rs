//! Unfinished uploads: one sparse file each, shards written in place, so that assembling an image
//! copies nothing.
//!
//! Writers hold a shared flock(2) on the file, sealing and discarding an exclusive one. So no shard
//! that comes late, from a second device or a second server process, reaches a file that is being
//! hashed or is an image already: it waits, finds that its file has moved on, and begins a new one.
//! A crash lets go of the locks.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;
use rustix::fs::{FlockOperation, flock};

use super::super::disk::{Disk, leave_memory};
use super::super::{BlobError, SharedGuard, UploadKey};
use super::image_dir::{ImageDir, hash, stands_at};

/// Uploads whose names are remembered to be durable. Forgetting one costs a sync of the folder,
/// nothing else.
const NAMES_MAX: usize = 4096;

/// The folder of unfinished uploads.
#[derive(Debug)]
pub(super) struct PartialDir {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The inode numbers of upload files whose names are durable.
    durable_names: Mutex<HashMap<UploadKey, u64>>,
}

impl PartialDir {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self {
            disk,
            folder,
            durable_names: Mutex::default(),
        }
    }

    /// Writes a shard in place: content and name are durable on return.
    pub(super) fn write(
        &self,
        upload: UploadKey,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), BlobError> {
        let path = self.path(upload);
        let file = open_to_write(&path)?;
        self.disk
            .write(&file, bytes, offset)
            .map_err(BlobError::io("write", &path))?;
        heirloom_crash::reached(CrashPoint::ShardWritten);
        self.disk
            .sync(&file, &path)
            .map_err(BlobError::io("sync", &path))?;
        let inode = file
            .metadata()
            .map_err(BlobError::io("look at", &path))?
            .ino();
        self.make_name_durable(upload, inode)?;
        heirloom_crash::reached(CrashPoint::ShardSynced);
        Ok(())
    }

    /// Takes a file of the same folder, whose content is durable, as an upload's, unless the upload
    /// has one; whether it did. The name is durable on return.
    pub(super) fn adopt(&self, upload: UploadKey, from: &Path) -> Result<bool, BlobError> {
        let to = self.path(upload);
        match self.disk.rename_to_new(from, &to) {
            Ok(()) => self.sync_folder().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(BlobError::io("move an interrupted image to", &to)(error)),
        }
    }

    /// Turns a finished upload into an image.
    pub(super) fn finish(
        &self,
        upload: UploadKey,
        size: u64,
        images: &ImageDir,
    ) -> Result<SharedGuard, BlobError> {
        let path = self.path(upload);
        let Some(file) = open_alone(&path)? else {
            return self.sealed_before(upload.fingerprint, size, images);
        };
        let found = file
            .metadata()
            .map_err(BlobError::io("look at", &path))?
            .len();
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
        leave_memory(&file, &path);
        self.durable_names().remove(&upload);
        let shared = images.place(&path, upload.fingerprint)?;
        images.sync(upload.fingerprint)?;
        self.sync_folder()?;
        Ok(SharedGuard::new(shared))
    }

    /// Removes an upload's file, if there is one.
    pub(super) fn discard(&self, upload: UploadKey) -> Result<(), BlobError> {
        let path = self.path(upload);
        if open_alone(&path)?.is_none() {
            return Ok(());
        }
        self.durable_names().remove(&upload);
        self.disk
            .remove(&path)
            .map_err(BlobError::io("remove", &path))?;
        self.sync_folder()
    }

    /// The uploads that have a file.
    pub(super) fn list(&self) -> Result<Vec<UploadKey>, BlobError> {
        let mut uploads = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(BlobError::io("list", &self.folder))? {
            let entry = entry.map_err(BlobError::io("list", &self.folder))?;
            uploads.extend(entry.file_name().to_str().and_then(parse));
        }
        Ok(uploads)
    }

    /// A seal may be asked for twice: the second finds the image where the first put it, and syncs
    /// what that one may not have come to.
    fn sealed_before(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        images: &ImageDir,
    ) -> Result<SharedGuard, BlobError> {
        // Before looking: what is seen must still be there when the index is told.
        let shared = images.share(fingerprint)?;
        match images.size(fingerprint)? {
            Some(found) if found == size => {
                images.sync(fingerprint)?;
                self.sync_folder()?;
                Ok(SharedGuard::new(shared))
            }
            Some(found) => Err(BlobError::WrongLength {
                expected: size,
                found,
            }),
            None => Err(BlobError::Missing(fingerprint)),
        }
    }

    fn make_name_durable(&self, upload: UploadKey, inode: u64) -> Result<(), BlobError> {
        if self.durable_names().get(&upload) == Some(&inode) {
            return Ok(());
        }
        self.sync_folder()?;
        let mut names = self.durable_names();
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

    fn durable_names(&self) -> MutexGuard<'_, HashMap<UploadKey, u64>> {
        // A map of facts, each true by itself: a panic elsewhere has not spoiled it.
        self.durable_names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, upload: UploadKey) -> PathBuf {
        self.folder
            .join(format!("{}-{}", upload.user, upload.fingerprint))
    }
}

/// An upload's key from its file's name.
fn parse(name: &str) -> Option<UploadKey> {
    let (user, fingerprint) = name.rsplit_once('-')?;
    Some(UploadKey {
        user: UserId(user.parse().ok()?),
        fingerprint: fingerprint.parse().ok()?,
    })
}

/// The file at `path`, made if missing, shared with other writers.
fn open_to_write(path: &Path) -> Result<File, BlobError> {
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(BlobError::io("open", path))?;
        // Each turn of this loop is an upload that was sealed or discarded while we waited for it.
        if lock_where_it_stands(&file, path, FlockOperation::LockShared)? {
            return Ok(file);
        }
    }
}

/// The file at `path` once no writer is left; none if there is none.
fn open_alone(path: &Path) -> Result<Option<File>, BlobError> {
    loop {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::io("open", path)(error)),
        };
        if lock_where_it_stands(&file, path, FlockOperation::LockExclusive)? {
            return Ok(Some(file));
        }
    }
}

/// Waits for the lock; false if the file has left its place meanwhile.
fn lock_where_it_stands(
    file: &File,
    path: &Path,
    operation: FlockOperation,
) -> Result<bool, BlobError> {
    rustix::io::retry_on_intr(|| flock(file, operation))
        .map_err(|error| BlobError::io("lock", path)(error.into()))?;
    stands_at(file, path)
}
