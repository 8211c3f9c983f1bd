//! The interfaces through which the uploader reaches the journal and the library. The server's is
//! `remote::UploadServer`, the clock is tokio's. With other implementations, and tokio's clock
//! paused, the whole uploader runs in memory, but for the image files. Jitter comes from fastrand's
//! generator of the thread, which can be seeded; the order in which blocking work ends is the
//! operating system's, since `run_blocking` uses threads.

use std::collections::HashSet;
use std::fmt::Debug;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use heirloom_protocol::message::{Receipt, Session};
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};
use tokio::sync::watch;

use crate::journal::{FileId, FileRecord, FinishedUpload, Journal, JournalError};
use crate::library::{Library, LibraryError};

/// The journal, as the uploader uses it: the upload queue, the sync list and the shard lists. All
/// methods may block on the disk.
pub trait UploadJournal: Debug + Send + Sync + 'static {
    /// Pending files: the `newest` latest ones and then the `oldest` earliest ones, without those
    /// in `except`.
    fn pending(
        &self,
        newest: usize,
        oldest: usize,
        except: &HashSet<FileId>,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError>;

    /// The sync list's entry for an image.
    fn receipt(&self, image: Fingerprint) -> Result<Option<Receipt>, JournalError>;

    /// The shard list of an image: what the server acknowledged, as far as we recorded it.
    fn shards(&self, image: Fingerprint) -> Result<RangeSet, JournalError>;

    /// Adds a range that the server acknowledged to the shard list.
    fn add_shard(&self, image: Fingerprint, range: ByteRange) -> Result<(), JournalError>;

    /// Replaces the shard list by the server's.
    fn replace_shards(&self, image: Fingerprint, received: &RangeSet) -> Result<(), JournalError>;

    /// Records outcomes in one transaction; returns for each whether it applied, that is, whether
    /// the file is still the one that was uploaded.
    fn finish_uploads(&self, uploads: Vec<FinishedUpload>) -> Result<Vec<bool>, JournalError>;
}

/// The library, as the uploader uses it.
pub trait UploadLibrary: Debug + Send + Sync + 'static {
    /// The session with the server that the journal is bound to. Must be asked for before anything
    /// in the sync list or the shard lists is used: if another installation answers than before,
    /// the journal forgets what the other one said.
    fn session(&self) -> BoxFuture<'_, Result<Session, LibraryError>>;

    /// Names may be sent: images were backed up, or the server is reachable again.
    fn wake(&self);

    /// Changes when files went back to the upload queue because the server does not hold what a
    /// receipt said.
    fn requeued(&self) -> watch::Receiver<u64>;
}

impl UploadJournal for Journal {
    fn pending(
        &self,
        newest: usize,
        oldest: usize,
        except: &HashSet<FileId>,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        Self::pending(self, newest, oldest, except)
    }

    fn receipt(&self, image: Fingerprint) -> Result<Option<Receipt>, JournalError> {
        Self::receipt(self, image)
    }

    fn shards(&self, image: Fingerprint) -> Result<RangeSet, JournalError> {
        Self::shards(self, image)
    }

    fn add_shard(&self, image: Fingerprint, range: ByteRange) -> Result<(), JournalError> {
        Self::add_shard(self, image, range)
    }

    fn replace_shards(&self, image: Fingerprint, received: &RangeSet) -> Result<(), JournalError> {
        Self::replace_shards(self, image, received)
    }

    fn finish_uploads(&self, uploads: Vec<FinishedUpload>) -> Result<Vec<bool>, JournalError> {
        Self::finish_uploads(self, uploads)
    }
}

impl UploadLibrary for Library {
    fn session(&self) -> BoxFuture<'_, Result<Session, LibraryError>> {
        Self::session(self).boxed()
    }

    fn wake(&self) {
        Self::wake(self);
    }

    fn requeued(&self) -> watch::Receiver<u64> {
        Self::requeued(self)
    }
}
