//! From a promise to a receipt: sync list, batched check with proofs, shards where they are missing.

use std::sync::Arc;

use crate::journal::{FileId, Journal};
use crate::library::Library;
use crate::remote::Remote;
use crate::spool::Spool;

#[derive(Clone, Debug)]
pub struct Uploader {}

/// How far one upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub received_bytes: u64,
    pub total_bytes: u64,
}

/// Whether backing up goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Nothing was asked yet.
    Starting,
    Online,
    /// The server cannot be reached; `why` for the person; next try in so many seconds.
    Offline {
        why: String,
        retry_s: u64,
    },
    LoginNeeded,
}

#[derive(Clone, Debug)]
pub struct UploaderStatus {
    pub connection: Connection,
    /// Files being delivered now: id and progress.
    pub uploading: Vec<(FileId, Progress)>,
    pub bytes_per_second: u64,
    pub shard_bytes: u64,
    pub link: heirloom_protocol::LinkKind,
    /// Shard bytes sent since start (what crossed the network, resent ones included).
    pub sent_bytes: u64,
    /// Photo bytes not sent since start, because of each:
    pub saved_by_sync_list_bytes: u64,
    pub saved_by_check_bytes: u64,
    pub saved_by_instant_upload_bytes: u64,
    /// The last failures, newest first, a named limit of them: path and why.
    pub failing: Vec<(heirloom_protocol::LibraryPath, String)>,
}

impl Uploader {
    pub fn start(
        runtime: &tokio::runtime::Handle,
        spool: Spool,
        journal: Arc<Journal>,
        library: Library,
        remote: Remote,
    ) -> Self {
        todo!()
    }
    /// There is something new in the queue.
    pub fn wake(&self) {
        todo!()
    }
    /// The file is being changed: its delivery, if there is one, is dropped. Never blocks.
    pub fn abandon(&self, id: FileId) {
        todo!()
    }
    pub fn progress(&self, id: FileId) -> Option<Progress> {
        todo!()
    }
    pub fn status(&self) -> UploaderStatus {
        todo!()
    }
    /// Changes whenever something was settled or the connection changed: for `wait`.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        todo!()
    }
    /// Stops at the next safe point; returns when nothing is sent any more.
    pub async fn stop(&self) {
        todo!()
    }
}
