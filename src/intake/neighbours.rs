//! *Neighbours*: the little that the intake says to the rooms below it that reach the network, so
//! that it can be tested without one.

use std::fmt;

use crate::journal::FileId;
use crate::library::Library;
use crate::uploader::{Progress, Uploader};

/// What is said to the uploader and to the library.
pub(super) trait Neighbours: fmt::Debug + Send + Sync {
    /// There are new promises in the journal.
    fn promised(&self);
    /// There are changes of names in the outbox.
    fn names_changed(&self);
    /// This file is being changed: what is being sent of it is stale.
    fn abandon(&self, id: FileId);
    /// How far this file's upload is, if there is one.
    fn progress(&self, id: FileId) -> Option<Progress>;
}

/// The real ones.
#[derive(Debug)]
pub(super) struct Below {
    pub(super) uploader: Uploader,
    pub(super) library: Library,
}

impl Neighbours for Below {
    fn promised(&self) {
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
