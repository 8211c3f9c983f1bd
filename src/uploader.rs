//! The uploader: from a promise to a receipt. Sync list, batched check with proofs, shards where
//! they are missing (M3 to M8).
//!
//! The walk of a file: `asking` takes it from the queue and finds out whether it has to be sent;
//! `carrying` opens it; `delivery` cuts it into shards within the `budget`, sized by the `pace`;
//! `settling` writes the receipt. The `line` decides what happens next. What is in hand lives in
//! memory only: a crash at any point leaves the promise in the journal, and what arrived in the
//! server's list and ours.

mod check;
mod state;
mod budget;
mod oneshot;
mod transport;
mod job;
mod chunked_upload;
mod context;
mod image;
mod scheduler;
mod network;
mod offline;
mod shard_size;
mod batch;
mod job_table;
mod completion;
mod buffer_pool;

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use budget::{IN_FLIGHT_BYTES_MAX, REQUESTS_MAX};
pub use chunked_upload::{DeliveryError, ProgressSink, ResumeSource};
pub use image::{ImageError, ImageFile};
pub use oneshot::{BackupOutcome, NoProgress};
pub use shard_size::AdaptiveShardSize;
pub use transport::Transport;

use crate::journal::{FileId, Journal};
use crate::library::Library;
use crate::remote::Remote;
use crate::spool::Spool;
use completion::CompletionWriter;
use context::{LANES, UploadContext};
use scheduler::Scheduler;
use state::SharedState;

/// A handle to the running uploader. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Uploader {
    board: Arc<SharedState>,
    transport: Transport,
    wake: Arc<Notify>,
    stop: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// How far one upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the server has made durable.
    pub received_bytes: u64,
    /// Bytes of the image.
    pub total_bytes: u64,
}

/// Whether backing up goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Connection {
    /// Nothing was asked yet.
    Starting,
    /// The server answers.
    Online,
    /// The server cannot be reached; `why` for the person; next try in so many seconds.
    Offline {
        /// One line for the person.
        why: String,
        /// Seconds from the moment this was written.
        retry_s: u64,
    },
    /// The server does not know our token; everything stays pending.
    LoginNeeded,
}

/// What the uploader is doing, and what it did since it was started.
#[derive(Clone, Debug)]
pub struct UploaderStatus {
    /// Whether the server can be used.
    pub connection: Connection,
    /// Files being delivered now: id and progress.
    pub uploading: Vec<(FileId, Progress)>,
    /// Acknowledged over the last few seconds.
    pub bytes_per_second: u64,
    /// How large a shard is now.
    pub shard_bytes: u64,
    /// What the pace started from.
    pub link: heirloom_protocol::LinkKind,
    /// Shard bytes sent since start (what crossed the network, resent ones included).
    pub sent_bytes: u64,
    /// Photo bytes not sent since start, because our own list had the image.
    pub saved_by_sync_list_bytes: u64,
    /// The same, because the server had it from this user.
    pub saved_by_check_bytes: u64,
    /// The same, because the server had it from somebody else.
    pub saved_by_instant_upload_bytes: u64,
    /// The last failures, newest first, a named limit of them: path and why.
    pub failing: Vec<(heirloom_protocol::LibraryPath, String)>,
}

impl Uploader {
    /// Starts the line on this runtime.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        spool: Spool,
        journal: Arc<Journal>,
        library: Library,
        remote: Remote,
    ) -> Self {
        let (board, transport) = (Arc::new(SharedState::new()), Transport::new(remote));
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let settler = CompletionWriter {
            journal: Arc::clone(&journal),
            library: library.clone(),
            board: Arc::clone(&board),
        };
        let (ends, received) = CompletionWriter::open();
        let desk = UploadContext {
            spool,
            journal,
            library,
            transport: transport.clone(),
            board: Arc::clone(&board),
            lanes: Semaphore::new(LANES),
            film_proofs: Semaphore::new(1),
            ends,
        };
        let line = Scheduler::new(Arc::new(desk), Arc::clone(&wake));
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            let settling = settler.run(received);
            // The line's end drops every sender but those of tasks that are being dropped; then
            // settling ends too.
            let working = async move { stopped.run_until_cancelled_owned(line.run()).await };
            tokio::join!(working, settling);
        });
        Self {
            board,
            transport,
            wake,
            stop,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    /// There is something new in the queue.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The file is being changed: its delivery, if there is one, is dropped. Never blocks.
    pub fn abandon(&self, id: FileId) {
        self.board.lock().roster.abandon(id);
    }

    /// How far a file is; nothing if it is not being sent now.
    pub fn progress(&self, id: FileId) -> Option<Progress> {
        self.board.lock().roster.progress(id)
    }

    /// Everything at a glance. Touches neither disk nor network.
    pub fn status(&self) -> UploaderStatus {
        let state = self.board.lock();
        UploaderStatus {
            connection: state.connection.clone(),
            uploading: state.roster.uploading().collect(),
            bytes_per_second: self.transport.bytes_per_second(),
            shard_bytes: self.transport.shard_bytes(),
            link: self.transport.link(),
            sent_bytes: self.transport.sent_bytes(),
            saved_by_sync_list_bytes: state.saved.sync_list,
            saved_by_check_bytes: state.saved.check,
            saved_by_instant_upload_bytes: state.saved.instant_upload,
            failing: state.failing(),
        }
    }

    /// Changes whenever something was settled or the connection changed: for `wait`.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.board.watch()
    }

    /// Drops what is under way (the server keeps what it acknowledged), writes the receipts that
    /// are there, and returns when nothing is sent any more.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the uploader did not end well"
            );
        }
    }
}

#[cfg(test)]
mod tests;
