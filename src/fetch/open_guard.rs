//! The guard of an open file: it protects the file from eviction, and gives access to its missing
//! bytes.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::downloader::Downloader;
use super::open_files::{OpenCountGuard, OpenFiles};
use super::open_placeholder::OpenPlaceholder;
use crate::journal::FileId;

/// A file that was opened through the mount: as long as the guard exists, the file is not evicted.
/// Has its missing bytes, if it is a placeholder.
#[derive(Debug)]
pub struct OpenGuard {
    open_count: OpenCountGuard,
    placeholder: Option<OpenPlaceholder>,
}

impl OpenGuard {
    /// Registers an open of a file. If all its bytes are here but not verified, that begins.
    pub(super) fn open(
        files: &Arc<OpenFiles>,
        downloader: &Arc<Downloader>,
        id: FileId,
        file: &File,
    ) -> io::Result<Self> {
        let (open_count, fetch) = files.open(id, file)?;
        let placeholder = fetch.map(|fetch| {
            fetch.add_open();
            downloader.verify_if_complete(&fetch);
            OpenPlaceholder::new(Arc::clone(downloader), fetch)
        });
        Ok(Self {
            open_count,
            placeholder,
        })
    }

    /// Registers an open of a file that was just created.
    pub(super) fn open_created(files: &Arc<OpenFiles>, id: FileId) -> Self {
        Self {
            open_count: files.open_created(id),
            placeholder: None,
        }
    }

    /// The missing bytes of the file; nothing if it was an ordinary one when it was opened. Only
    /// an ordinary file may be read without us.
    pub fn placeholder(&self) -> Option<&OpenPlaceholder> {
        self.placeholder.as_ref()
    }

    /// The file's id.
    pub fn id(&self) -> FileId {
        self.open_count.id()
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if let Some(placeholder) = &self.placeholder {
            placeholder.file_fetch().remove_open();
        }
    }
}
