//! The interface from the intake to the next stages of the pipeline, uploader and library. A trait,
//! so that the intake can be tested without a network.

use std::fmt;

use crate::journal::FileId;
use crate::library::Library;
use crate::uploader::{Progress, Uploader};

/// The next stages of the pipeline: uploader and library.
pub(super) trait Downstream: fmt::Debug + Send + Sync {
    /// The journal has new pending files.
    fn files_pending(&self);
    /// The outbox has new changes of names.
    fn names_changed(&self);
    /// A file is being changed: an upload of its old content is to be cancelled.
    fn abandon(&self, id: FileId);
    /// Progress of a file's upload, if one is running.
    fn progress(&self, id: FileId) -> Option<Progress>;
}

/// The uploader and the library of this process.
#[derive(Debug)]
pub(super) struct UploaderAndLibrary {
    pub(super) uploader: Uploader,
    pub(super) library: Library,
}

impl Downstream for UploaderAndLibrary {
    fn files_pending(&self) {
        self.uploader.wake();
    }

    fn names_changed(&self) {
        self.library.wake();
    }

    fn abandon(&self, id: FileId) {
        self.uploader.abandon(id);
    }

    fn progress(&self, id: FileId) -> Option<Progress> {
        self.uploader.progress(id)
    }
}
