//! An incoming image: a private file that is hashed as it grows, and goes away unless it is
//! settled.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::{Fingerprint, Fingerprinter};
use rustix::fs::{FlockOperation, flock};

use super::super::disk::{Disk, leave_memory};
use super::super::{BlobError, SharedGuard, UploadKey};
use super::image_dir::{FolderLock, ImageDir, stands_at};
use super::partial_dir::PartialDir;

/// What the names of incoming files begin with; no upload's name does.
const PREFIX: &str = "incoming-";

/// A file that takes the bytes of one arriving image, in order. Dropped before it is settled, it is
/// removed.
#[derive(Debug)]
pub(super) struct IncomingFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: File,
    length: u64,
    hashing: Fingerprinter,
    became: Became,
}

/// What an incoming image has become.
#[derive(Debug)]
enum Became {
    /// Nothing that stays.
    Nothing,
    /// An image, with what keeps it.
    Image(FolderLock),
    /// The beginning of an upload.
    Upload,
}

impl IncomingFile {
    /// Begins an empty file in `folder`.
    pub(super) fn create(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, BlobError> {
        let path = folder.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(BlobError::io("create", &path))?;
        // Tells a sweep (of a second server over this directory) that somebody is at work here; a
        // crash lets go of it.
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| BlobError::io("lock", &path)(error.into()))?;
        Ok(Self {
            disk,
            path,
            file,
            length: 0,
            hashing: Fingerprinter::default(),
            became: Became::Nothing,
        })
    }

    /// Takes the next bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.disk
            .write(&self.file, bytes, self.length)
            .map_err(BlobError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        self.hashing.update(bytes);
        Ok(())
    }

    /// Lets the disk begin while others are written.
    pub(super) fn begin_writeback(&self) {
        leave_memory(&self.file, &self.path);
    }

    /// Makes the image durable under its name: content first, then the name.
    pub(super) fn settle(
        mut self,
        expected: Fingerprint,
        images: &ImageDir,
    ) -> Result<Self, BlobError> {
        let found = self.found();
        if found != expected {
            return Err(BlobError::WrongFingerprint { expected, found });
        }
        self.sync()?;
        self.place(expected, images)?;
        images.sync(expected)?;
        Ok(self)
    }

    /// Becomes the beginning of an upload, content first, then the name. If there is an upload
    /// already, it goes away.
    pub(super) fn keep(
        mut self,
        upload: UploadKey,
        unfinished: &PartialDir,
    ) -> Result<Self, BlobError> {
        heirloom_crash::reached(CrashPoint::ShardWritten);
        self.disk
            .sync(&self.file, &self.path)
            .map_err(BlobError::io("sync", &self.path))?;
        if unfinished.adopt(upload, &self.path)? {
            self.became = Became::Upload;
        }
        heirloom_crash::reached(CrashPoint::ShardSynced);
        Ok(self)
    }

    /// Whether it has become the beginning of an upload.
    pub(super) const fn is_kept(&self) -> bool {
        matches!(self.became, Became::Upload)
    }

    /// The fingerprint of what came.
    pub(super) fn found(&self) -> Fingerprint {
        self.hashing.clone().finish()
    }

    /// Makes the content durable.
    pub(super) fn sync(&self) -> Result<(), BlobError> {
        heirloom_crash::reached(CrashPoint::ImageHashed);
        self.disk
            .sync(&self.file, &self.path)
            .map_err(BlobError::io("sync", &self.path))?;
        heirloom_crash::reached(CrashPoint::ImageSynced);
        leave_memory(&self.file, &self.path);
        Ok(())
    }

    /// Gives the image, whose content is verified and durable, its name. The name is durable after
    /// [`ImageDir::sync`].
    pub(super) fn place(
        &mut self,
        fingerprint: Fingerprint,
        images: &ImageDir,
    ) -> Result<(), BlobError> {
        self.became = Became::Image(images.place(&self.path, fingerprint)?);
        Ok(())
    }

    /// What keeps the settled image.
    pub(super) fn guard(&self) -> SharedGuard {
        let kept = match &self.became {
            Became::Image(shared) => Some(shared.clone()),
            Became::Nothing | Became::Upload => None,
        };
        SharedGuard::new(kept)
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if matches!(self.became, Became::Nothing)
            && let Err(error) = self.disk.remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "left an unfinished image for the next start to sweep");
        }
    }
}

/// Removes the incoming files that nobody works on: leftovers of a crash.
pub(super) fn sweep(disk: &dyn Disk, folder: &Path) -> Result<(), BlobError> {
    for entry in fs::read_dir(folder).map_err(BlobError::io("list", folder))? {
        let entry = entry.map_err(BlobError::io("list", folder))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            remove_if_abandoned(disk, &entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_abandoned(disk: &dyn Disk, path: &Path) -> Result<(), BlobError> {
    let file = match File::open(path) {
        Ok(file) => file,
        // Settled or removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BlobError::io("open", path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Settled between opening and locking: then there is no such name any more, and nothing is
        // removed.
        Ok(()) if !stands_at(&file, path)? => Ok(()),
        Ok(()) => disk.remove(path).map_err(BlobError::io("remove", path)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(BlobError::io("lock", path)(error.into())),
    }
}
