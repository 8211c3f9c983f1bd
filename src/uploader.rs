//! The uploader: sends pending files to the server until there is a receipt for each. Sync list
//! first, then a batched check with proofs for instant upload, then the missing shards.
//!
//! The data flow of a file: `check` takes it from the queue and finds out whether it has to be
//! sent; `job` opens it; `chunked_upload` cuts it into shards of the adaptive `shard_size`;
//! `transport` sends them within the in-flight `budget`; `completion` writes the receipt. The
//! `scheduler` decides what happens next. Claimed files are known in memory only: after a crash at
//! any point the file is still pending in the journal, and the shards that arrived are in the
//! server's interruption list and in our shard list.
//!
//! The files by layer, from the top; each names only files below it:

mod scheduler;
mod job;
mod check;
mod batch;
mod context;
mod completion;
mod oneshot;
mod chunked_upload;
mod transport;
mod network;
mod shard_size;
mod budget;
mod image_file;
mod buffer_pool;
mod offline;
mod state;
mod job_table;
mod interfaces;
mod types;
mod limits;

use std::sync::Arc;

use heirloom_protocol::{LibraryPath, LinkKind};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use image_file::ImageFile;
pub use interfaces::{UploadJournal, UploadLibrary};
pub use limits::{IN_FLIGHT_BYTES_MAX, REQUESTS_MAX};
pub use oneshot::{BackupOutcome, NoProgress, back_up};
pub use shard_size::{AdaptiveShardSize, InFlightShard};
pub use transport::Transport;
pub use types::{Connection, ImageError, Progress, ProgressSink, UploadError};

use crate::journal::FileId;
use crate::remote::UploadServer;
use crate::spool::Spool;
use completion::CompletionWriter;
use context::UploadContext;
use scheduler::Scheduler;
use state::SharedState;

/// A handle to the running uploader. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Uploader {
    state: Arc<SharedState>,
    transport: Transport,
    wake: Arc<Notify>,
    stop: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What the uploader is doing, and what it did since it was started.
#[derive(Clone, Debug)]
pub struct UploaderStatus {
    /// Whether the server can be used.
    pub connection: Connection,
    /// Files being sent now, with their progress.
    pub uploading: Vec<(FileId, Progress)>,
    /// Bytes acknowledged per second, over the last few seconds.
    pub bytes_per_second: u64,
    /// The present shard size, in bytes.
    pub shard_bytes: u64,
    /// The kind of network link that set the first shard size.
    pub link: LinkKind,
    /// Image bytes sent since the start, those sent again included.
    pub sent_bytes: u64,
    /// Bytes not sent since the start because the sync list had the image.
    pub saved_by_sync_list_bytes: u64,
    /// Bytes not sent since the start because the server had the image from this user.
    pub saved_by_check_bytes: u64,
    /// Bytes not sent since the start because the server had the image from another user.
    pub saved_by_instant_upload_bytes: u64,
    /// The latest failures, newest first, a limited number: path and reason.
    pub failing: Vec<(LibraryPath, String)>,
}

impl Uploader {
    /// Starts the scheduler on this runtime.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        spool: Spool,
        journal: Arc<impl UploadJournal>,
        library: impl UploadLibrary,
        server: impl UploadServer,
    ) -> Self {
        let journal: Arc<dyn UploadJournal> = journal;
        let library: Arc<dyn UploadLibrary> = Arc::new(library);
        let (state, transport) = (Arc::new(SharedState::new()), Transport::new(server));
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let writer = CompletionWriter {
            journal: Arc::clone(&journal),
            library: Arc::clone(&library),
            state: Arc::clone(&state),
        };
        let (completions, received) = CompletionWriter::queue();
        let context = UploadContext::new(
            spool,
            journal,
            library,
            transport.clone(),
            Arc::clone(&state),
            completions,
        );
        let scheduler = Scheduler::new(Arc::new(context), Arc::clone(&wake));
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            let writing = writer.run(received);
            // The scheduler's end drops every sender but those of tasks that are being dropped;
            // then the writer ends too.
            let working = async move { stopped.run_until_cancelled_owned(scheduler.run()).await };
            tokio::join!(working, writing);
        });
        Self {
            state,
            transport,
            wake,
            stop,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    /// Reports that the upload queue has something new.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Drops the upload of a file, if there is one, because its content is being changed. Never
    /// blocks.
    pub fn abandon(&self, id: FileId) {
        self.state.lock().jobs.abandon(id);
    }

    /// The progress of a file; nothing if it is not being sent now.
    pub fn progress(&self, id: FileId) -> Option<Progress> {
        self.state.lock().jobs.progress(id)
    }

    /// The present state. Uses neither disk nor network.
    pub fn status(&self) -> UploaderStatus {
        let state = self.state.lock();
        UploaderStatus {
            connection: state.connection.clone(),
            uploading: state.jobs.uploading().collect(),
            bytes_per_second: self.transport.bytes_per_second(),
            shard_bytes: self.transport.shard_bytes(),
            link: self.transport.link(),
            sent_bytes: self.transport.sent_bytes(),
            saved_by_sync_list_bytes: state.saved.sync_list,
            saved_by_check_bytes: state.saved.check,
            saved_by_instant_upload_bytes: state.saved.instant_upload,
            failing: state.failures(),
        }
    }

    /// Changes whenever an outcome was recorded or the connection changed: for `wait`.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.state.watch()
    }

    /// Stops: drops what is in flight (the server keeps what it acknowledged), writes the receipts
    /// that arrived, and returns when nothing is sent any more.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the uploader panicked"
            );
        }
    }
}

#[cfg(test)]
mod tests;
