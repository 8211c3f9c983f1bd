//! The sections of a local directory: a folder each, and a flock(2) on that folder which says who
//! is at work in it.
//!
//! Whoever places an image has it shared until the index knows the image, whoever removes images
//! has it alone. The kernel keeps these locks for all processes, the administrator's command among
//! them, and lets go of those of a process that ends.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;
use rustix::fs::{FlockOperation, flock};

use super::super::super::{BlobError, ExclusiveGuard, Prefix, RemovedStats, StoredImage};
use super::ImageDir;

/// As long as it is held, no image of its folder is removed. Clones are one.
#[derive(Clone, Debug)]
pub(in super::super) struct FolderLock {
    _folder: Arc<File>,
}

impl ImageDir {
    /// Keeps the images of a section from being removed. Waits while somebody is removing some.
    pub(in super::super) fn share(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<FolderLock, BlobError> {
        self.make_folders()?;
        let path = self.folder(fingerprint);
        let folder = File::open(&path).map_err(BlobError::io("open", &path))?;
        rustix::io::retry_on_intr(|| flock(&folder, FlockOperation::LockShared))
            .map_err(|error| BlobError::io("lock", &path)(error.into()))?;
        Ok(FolderLock {
            _folder: Arc::new(folder),
        })
    }

    /// Keeps everybody from placing images in a section; none if somebody is at it.
    pub(in super::super) fn try_lock_exclusive(
        &self,
        section: Prefix,
    ) -> Result<Option<ExclusiveGuard>, BlobError> {
        self.make_folders()?;
        let path = self.section(section);
        let folder = File::open(&path).map_err(BlobError::io("open", &path))?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(ExclusiveGuard::new(section, folder))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(BlobError::io("lock", &path)(error.into())),
        }
    }

    /// What stands in a section. Names that are no fingerprints are none of ours.
    pub(in super::super) fn list(&self, section: Prefix) -> Result<Vec<StoredImage>, BlobError> {
        self.make_folders()?;
        let path = self.section(section);
        let mut images = Vec::new();
        for entry in fs::read_dir(&path).map_err(BlobError::io("list", &path))? {
            images.extend(standing(&entry.map_err(BlobError::io("list", &path))?)?);
        }
        Ok(images)
    }

    /// Removes images of the section, and what was moved aside of them.
    pub(in super::super) fn remove(
        &self,
        alone: ExclusiveGuard,
        images: &[Fingerprint],
    ) -> Result<RemovedStats, BlobError> {
        let mut freed = RemovedStats::default();
        for fingerprint in images {
            debug_assert_eq!(
                Prefix::of(*fingerprint),
                alone.section(),
                "only the secluded section"
            );
            // In this order: what a quarantine moves meanwhile is found in the second place.
            let dirs = [
                self.path(*fingerprint),
                self.quarantine.join(fingerprint.to_string()),
            ];
            let removed: Vec<u64> = dirs
                .iter()
                .filter_map(|path| self.remove_file(path).transpose())
                .collect::<Result<_, _>>()?;
            freed.images += u64::from(!removed.is_empty());
            freed.bytes += removed.iter().sum::<u64>();
        }
        if freed.images > 0 {
            heirloom_crash::reached(CrashPoint::ImageRemoved);
            for folder in [&self.section(alone.section()), &self.quarantine] {
                self.disk
                    .sync_folder(folder)
                    .map_err(BlobError::io("sync", folder))?;
            }
        }
        drop(alone);
        Ok(freed)
    }

    /// The bytes that were freed; none if there is no such file.
    fn remove_file(&self, path: &Path) -> Result<Option<u64>, BlobError> {
        let bytes = match fs::symlink_metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::io("look at", path)(error)),
        };
        match self.disk.remove(path) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("remove", path)(error)),
        }
    }
}

fn standing(entry: &DirEntry) -> Result<Option<StoredImage>, BlobError> {
    let name = entry.file_name();
    let Some(fingerprint) = name.to_str().and_then(|name| name.parse().ok()) else {
        return Ok(None);
    };
    match entry.metadata() {
        // The time of the last change of the inode, which a rename is: nobody can set it to another
        // one.
        Ok(found) => Ok(Some(StoredImage {
            fingerprint,
            since_ms: found.ctime() * 1000 + found.ctime_nsec() / 1_000_000,
        })),
        // Moved or removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BlobError::io("look at", &entry.path())(error)),
    }
}
