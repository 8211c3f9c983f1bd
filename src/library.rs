//! The library: the names of photos on the server.
//!
//! Every change of a name goes into the journal's outbox first, and from there to the server, in
//! order and in batches; so a name survives a crash as an image does. A change says which version
//! of the name it is based on. If another device was faster, the change is based on its version and
//! sent again; the photo that it replaces is in the server's trash.
//!
//! In the other direction, the change feed is followed, and changes of other devices are applied to
//! the files here (`feed`, `apply`).

mod feed;
mod outbox;
mod apply;
mod placeholder_store;
mod change_batch;
mod requeue;
mod server_binding;
mod error;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use heirloom_protocol::message::Session;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::StateDir;
use crate::journal::Journal;
use crate::remote::Remote;
use crate::spool::Spool;
pub use error::LibraryError;
pub use feed::FeedStatus;
pub use placeholder_store::PlaceholderStore;

use feed::{FeedFollower, FeedSignals};
use outbox::{FeedFlag, Outbox, OutboxSignals};
use server_binding::ServerBinding;

/// Keeps the names in the server's library and those in the mount in step. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Library {
    journal: Arc<Journal>,
    binding: Arc<ServerBinding>,
    remote: Remote,
    wake: Arc<Notify>,
    stop: CancellationToken,
    outbox_task: Arc<Mutex<Option<JoinHandle<()>>>>,
    feed_task: Arc<Mutex<Option<JoinHandle<()>>>>,
    feed_status: Arc<Mutex<FeedStatus>>,
    feed_flag: FeedFlag,
    requeued: watch::Sender<u64>,
    confirmed: watch::Receiver<u64>,
    sending: watch::Receiver<bool>,
}

impl Library {
    /// Starts sending on this runtime, beginning with what is left in the outbox.
    pub fn start(runtime: &tokio::runtime::Handle, journal: Arc<Journal>, remote: Remote) -> Self {
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let requeued = watch::Sender::new(0);
        let (confirmed_sender, confirmed) = watch::channel(0);
        let (sending_sender, sending) = watch::channel(false);
        let binding = Arc::new(ServerBinding::new(Arc::clone(&journal), remote.clone()));
        let feed_flag = FeedFlag::default();
        let outbox = Outbox::new(
            Arc::clone(&journal),
            Arc::clone(&binding),
            remote.clone(),
            Arc::clone(&wake),
            OutboxSignals {
                requeued: requeued.clone(),
                confirmed: confirmed_sender,
                sending: sending_sender,
            },
            feed_flag.clone(),
        );
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            // When this is cancelled, it is unknown whether the server has applied a batch. The
            // batch is sent again, and a change may be sent twice.
            stopped.run_until_cancelled_owned(outbox.run()).await;
        });
        Self {
            journal,
            binding,
            remote,
            wake,
            stop,
            outbox_task: Arc::new(Mutex::new(Some(task))),
            feed_task: Arc::default(),
            feed_status: Arc::default(),
            feed_flag,
            requeued,
            confirmed,
            sending,
        }
    }

    /// Keeps the server's receipt key in this directory when it is first seen. To be called once,
    /// before the first session.
    pub fn set_receipt_key_dir(&self, state: StateDir) {
        self.binding.set_receipt_key_dir(state);
    }

    /// Applies changes of other devices from now on, to `store`, whose files are in `spool`. To be
    /// called once, on a thread of a runtime.
    pub fn follow_feed(&self, spool: Spool, store: impl PlaceholderStore) {
        let follower = FeedFollower::new(
            (
                Arc::clone(&self.journal),
                Arc::clone(&self.binding),
                self.remote.clone(),
            ),
            (spool, Box::new(store)),
            FeedSignals {
                confirmed: self.watch(),
                sending: self.sending.clone(),
                wake_outbox: Arc::clone(&self.wake),
                requeued: self.requeued.clone(),
            },
            Arc::clone(&self.feed_status),
        );
        self.feed_flag.0.store(true, Ordering::Release);
        let stopped = self.stop.clone();
        let task = tokio::spawn(async move {
            // When this is cancelled, a page is applied again.
            stopped.run_until_cancelled_owned(follower.run()).await;
        });
        *self.feed_task.lock() = Some(task);
    }

    /// Progress of the change feed.
    pub fn feed_status(&self) -> FeedStatus {
        *self.feed_status.lock()
    }

    /// Sends soon: the outbox has a new change (of `Journal::finish_uploads`), or the server is back.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The session of the server that the journal is bound to. Must be called before the sync list
    /// or the shard list is used: if the server is another installation than before, the journal
    /// forgets what that one said.
    pub async fn session(&self) -> Result<Session, LibraryError> {
        self.binding.session().await
    }

    /// Changes when files were queued for upload again, because the server does not hold what it
    /// has given a receipt for.
    pub fn requeued(&self) -> watch::Receiver<u64> {
        self.requeued.subscribe()
    }

    /// Changes when the server has confirmed names: for `wait`.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.confirmed.clone()
    }

    /// Stops both tasks and returns when they have ended. What was not confirmed stays in the
    /// outbox.
    pub async fn stop(&self) {
        self.stop.cancel();
        for task in [&self.outbox_task, &self.feed_task] {
            let task = task.lock().take();
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a task of the library failed"
                );
            }
        }
    }
}
