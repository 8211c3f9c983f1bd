//! The directories of a local blob store.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::disk::Disk;
use super::image_dir::ImageDir;
use super::partial_dir::PartialDir;
use crate::config::DataDir;

/// The directories of a local blob store, and the disk they are on.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) uploads: PathBuf,
    pub(super) images: PathBuf,
    pub(super) image_dir: ImageDir,
    pub(super) partial_dir: PartialDir,
}

impl Directories {
    /// The directories inside `data`.
    pub(super) fn new(disk: Arc<dyn Disk>, data: &DataDir) -> Self {
        Self {
            uploads: data.uploads(),
            images: data.images(),
            image_dir: ImageDir::new(Arc::clone(&disk), data.images(), data.quarantine()),
            partial_dir: PartialDir::new(Arc::clone(&disk), data.uploads()),
            disk,
        }
    }
}
