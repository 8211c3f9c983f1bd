//! An incoming image: a private file that is hashed as it grows, and is removed unless it becomes
//! an image or an upload.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::{Fingerprint, Fingerprinter};
use rustix::fs::{FlockOperation, flock};

use super::super::disk::{Disk, drop_from_page_cache};
use super::super::error::BlobError;
use super::super::prefix_lock::SharedGuard;
use super::super::upload_key::UploadKey;
use super::file::{is_at, open_if_exists};
use super::folder_lock::FolderLock;
use super::image_dir::ImageDir;
use super::partial_dir::PartialDir;

/// The prefix of the names of incoming files; no upload's name has it.
const PREFIX: &str = "incoming-";

/// A file that receives the bytes of one image, in order. It is removed when dropped, unless it has
/// become an image or an upload.
#[derive(Debug)]
pub(super) struct IncomingFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: File,
    length: u64,
    fingerprinter: Fingerprinter,
    outcome: Outcome,
}

/// What an incoming file has become.
#[derive(Debug)]
enum Outcome {
    /// Nothing yet: it is removed when dropped.
    Pending,
    /// An image, with the lock that protects it from removal.
    Image(FolderLock),
    /// An unfinished upload.
    Upload,
}

impl IncomingFile {
    /// Creates an empty file in `folder`.
    pub(super) fn create(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, BlobError> {
        let path = folder.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(BlobError::io("create", &path))?;
        // Tells another server over this directory that the file is in use; a crash releases the
        // lock.
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| BlobError::io("lock", &path)(error.into()))?;
        Ok(Self {
            disk,
            path,
            file,
            length: 0,
            fingerprinter: Fingerprinter::default(),
            outcome: Outcome::Pending,
        })
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.disk
            .write(&self.file, bytes, self.length)
            .map_err(BlobError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        self.fingerprinter.update(bytes);
        Ok(())
    }

    /// Starts the writeback while other files are written.
    pub(super) fn begin_writeback(&self) {
        drop_from_page_cache(&self.file, &self.path);
    }

    /// Makes the image durable under its name: content first, then the name. `WrongFingerprint` if
    /// the bytes have another fingerprint than expected.
    pub(super) fn finish(
        mut self,
        expected: Fingerprint,
        images: &ImageDir,
    ) -> Result<Self, BlobError> {
        let found = self.fingerprint();
        if found != expected {
            return Err(BlobError::WrongFingerprint { expected, found });
        }
        self.sync()?;
        self.place(expected, images)?;
        images.sync(expected)?;
        Ok(self)
    }

    /// Becomes an unfinished upload: content first, then the name. If that upload exists already,
    /// the file stays pending.
    pub(super) fn keep(
        mut self,
        upload: UploadKey,
        partial_dir: &PartialDir,
    ) -> Result<Self, BlobError> {
        heirloom_crash::reached(CrashPoint::ShardWritten);
        self.disk
            .sync(&self.file, &self.path)
            .map_err(BlobError::io("sync", &self.path))?;
        if partial_dir.adopt(upload, &self.path)? {
            self.outcome = Outcome::Upload;
        }
        heirloom_crash::reached(CrashPoint::ShardSynced);
        Ok(self)
    }

    /// Whether it has become an unfinished upload.
    pub(super) const fn is_kept(&self) -> bool {
        matches!(self.outcome, Outcome::Upload)
    }

    /// The fingerprint of the bytes so far.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.clone().finish()
    }

    /// Makes the content durable.
    pub(super) fn sync(&self) -> Result<(), BlobError> {
        heirloom_crash::reached(CrashPoint::ImageHashed);
        self.disk
            .sync(&self.file, &self.path)
            .map_err(BlobError::io("sync", &self.path))?;
        heirloom_crash::reached(CrashPoint::ImageSynced);
        drop_from_page_cache(&self.file, &self.path);
        Ok(())
    }

    /// Renames the file, whose content is verified and durable, to the image's name. The name is
    /// durable after [`ImageDir::sync`].
    pub(super) fn place(
        &mut self,
        fingerprint: Fingerprint,
        images: &ImageDir,
    ) -> Result<(), BlobError> {
        self.outcome = Outcome::Image(images.place(&self.path, fingerprint)?);
        Ok(())
    }

    /// Protects the finished image from removal.
    pub(super) fn guard(&self) -> SharedGuard {
        let lock = match &self.outcome {
            Outcome::Image(lock) => Some(lock.clone()),
            Outcome::Pending | Outcome::Upload => None,
        };
        SharedGuard::new(lock)
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if matches!(self.outcome, Outcome::Pending)
            && let Err(error) = self.disk.remove(&self.path)
        {
            tracing::warn!(
                path = %self.path.display(),
                %error,
                "could not remove an incomplete image; the next start removes it"
            );
        }
    }
}

/// Removes incoming files that no process is writing: leftovers of a crash.
pub(super) fn remove_abandoned(disk: &dyn Disk, folder: &Path) -> Result<(), BlobError> {
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
    // None if it was renamed or removed since it was listed.
    let Some(file) = open_if_exists(path)? else {
        return Ok(());
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Renamed between opening and locking: the name does not exist any more, and nothing is
        // removed.
        Ok(()) if !is_at(&file, path)? => Ok(()),
        Ok(()) => disk.remove(path).map_err(BlobError::io("remove", path)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(BlobError::io("lock", path)(error.into())),
    }
}
