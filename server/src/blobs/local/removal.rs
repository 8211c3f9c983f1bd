//! Listing and removing images of a prefix.

use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;

use super::super::blob_store::{RemovedStats, StoredImage};
use super::super::error::BlobError;
use super::super::prefix_lock::{ExclusiveGuard, Prefix};
use super::folder_lock::FolderLock;
use super::image_dir::ImageDir;

impl ImageDir {
    /// Locks a prefix so that nobody stores images of it; `None` if somebody is storing one.
    pub(super) fn try_lock_exclusive(
        &self,
        prefix: Prefix,
    ) -> Result<Option<ExclusiveGuard>, BlobError> {
        self.create_folders()?;
        let locked = FolderLock::try_exclusive(&self.folder(prefix))?;
        Ok(locked.map(|lock| ExclusiveGuard::new(prefix, lock)))
    }

    /// Lists the images of a prefix. Files whose names are not fingerprints are not ours.
    pub(super) fn list(&self, prefix: Prefix) -> Result<Vec<StoredImage>, BlobError> {
        self.create_folders()?;
        let path = self.folder(prefix);
        let mut images = Vec::new();
        for entry in fs::read_dir(&path).map_err(BlobError::io("list", &path))? {
            images.extend(stored_image(&entry.map_err(BlobError::io("list", &path))?)?);
        }
        Ok(images)
    }

    /// Removes images of the locked prefix and their quarantined copies.
    pub(super) fn remove(
        &self,
        guard: ExclusiveGuard,
        images: &[Fingerprint],
    ) -> Result<RemovedStats, BlobError> {
        let mut stats = RemovedStats::default();
        for fingerprint in images {
            debug_assert_eq!(
                Prefix::of(*fingerprint),
                guard.prefix(),
                "only the locked prefix"
            );
            // In this order: what a quarantine moves meanwhile is found in the second place.
            let paths = [self.path(*fingerprint), self.quarantine_path(*fingerprint)];
            let removed: Vec<u64> = paths
                .iter()
                .filter_map(|path| self.remove_file(path).transpose())
                .collect::<Result<_, _>>()?;
            stats.images += u64::from(!removed.is_empty());
            stats.bytes += removed.iter().sum::<u64>();
        }
        if stats.images > 0 {
            heirloom_crash::reached(CrashPoint::ImageRemoved);
            for folder in [&self.folder(guard.prefix()), &self.quarantine] {
                self.disk
                    .sync_folder(folder)
                    .map_err(BlobError::io("sync", folder))?;
            }
        }
        drop(guard);
        Ok(stats)
    }

    /// Removes a file and returns its length in bytes; `None` if it does not exist.
    fn remove_file(&self, path: &Path) -> Result<Option<u64>, BlobError> {
        let bytes = match fs::symlink_metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::io("stat", path)(error)),
        };
        match self.disk.remove(path) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("remove", path)(error)),
        }
    }
}

fn stored_image(entry: &DirEntry) -> Result<Option<StoredImage>, BlobError> {
    let name = entry.file_name();
    let Some(fingerprint) = name.to_str().and_then(|name| name.parse().ok()) else {
        return Ok(None);
    };
    match entry.metadata() {
        // ctime, which a rename updates and nobody can set.
        Ok(found) => Ok(Some(StoredImage {
            fingerprint,
            since_ms: found.ctime() * 1000 + found.ctime_nsec() / 1_000_000,
        })),
        // Moved or removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BlobError::io("stat", &entry.path())(error)),
    }
}
