//! The library: the names of photos, as the server should know them (M11).
//!
//! Every change of a name goes into the journal's outbox first and from there to the server, in
//! order and in batches; so a name outlives a crash as an image does. A change says which version
//! it was based on. If another device was faster, the change is based anew and sent again: what
//! stood there is in the server's trash.
//!
//! The other way round, what other devices changed is followed and shown (`arrivals`).

mod requeue;
mod feed;
mod apply;
mod change_batch;
mod server_binding;
mod outbox;
mod placeholder_store;

use std::sync::{Arc, Mutex, PoisonError};

use heirloom_protocol::LibraryPath;
use heirloom_protocol::message::Session;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::StateDir;
use crate::journal::{Journal, JournalError, NameChange};
use crate::remote::{Remote, RemoteError};
use crate::spool::Spool;
pub use feed::FeedStatus;
pub use placeholder_store::PlaceholderStore;

use feed::Arrivals;
use outbox::{Bells, Following, Outbox};
use server_binding::Bond;

/// A handle to the running library. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Library {
    journal: Arc<Journal>,
    bond: Arc<Bond>,
    wake: Arc<Notify>,
    stop: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    following: Arc<Mutex<Option<JoinHandle<()>>>>,
    arrivals: Arc<Mutex<FeedStatus>>,
    followed: Following,
    remote: Remote,
    requeue: watch::Sender<u64>,
    confirmed: watch::Receiver<u64>,
    sending: watch::Receiver<bool>,
}

/// Why the library could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The journal did not give or take something.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The server, or the way to it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl Library {
    /// Starts the sender on this runtime. What was left in the outbox goes out first.
    pub fn start(runtime: &tokio::runtime::Handle, journal: Arc<Journal>, remote: Remote) -> Self {
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let (requeue, (confirm, confirmed)) = (watch::Sender::new(0), watch::channel(0));
        let (send, sending) = watch::channel(false);
        let bells = Bells {
            requeued: requeue.clone(),
            confirmed: confirm,
            sending: send,
        };
        let bond = Arc::new(Bond::new(Arc::clone(&journal), remote.clone()));
        let (spoken_to, followed) = (remote.clone(), Following::default());
        let outbox = Outbox::new(
            Arc::clone(&journal),
            Arc::clone(&bond),
            remote,
            Arc::clone(&wake),
            bells,
            followed.clone(),
        );
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            // Dropped half-way, a batch was carried out or not; it is sent again, and a change may
            // be sent twice.
            stopped.run_until_cancelled_owned(outbox.run()).await;
        });
        Self {
            journal,
            bond,
            wake,
            stop,
            task: Arc::new(Mutex::new(Some(task))),
            following: Arc::default(),
            arrivals: Arc::default(),
            followed,
            remote: spoken_to,
            requeue,
            confirmed,
            sending,
        }
    }

    /// Keeps the key that the server signs receipts with, when it is first seen, in this directory.
    /// To be called once, before anything asks for a session.
    pub fn set_receipt_key_dir(&self, state: StateDir) {
        self.bond.set_receipt_key_dir(state);
    }

    /// Shows, from now on, what other devices change: on `shelf`, which stands over `spool`. To be
    /// called once, on a runtime's thread.
    pub fn follow_feed(&self, spool: Spool, shelf: impl PlaceholderStore) {
        let rooms = (
            Arc::clone(&self.journal),
            Arc::clone(&self.bond),
            self.remote.clone(),
        );
        let bells = feed::Bells {
            outbox: self.watch(),
            sending: self.sending.clone(),
            wake_outbox: Arc::clone(&self.wake),
            requeued: self.requeue.clone(),
        };
        let arrivals = Arrivals::new(
            rooms,
            (spool, Box::new(shelf)),
            bells,
            Arc::clone(&self.arrivals),
        );
        self.followed
            .0
            .store(true, std::sync::atomic::Ordering::Release);
        let stopped = self.stop.clone();
        let task = tokio::spawn(async move {
            // Dropped half-way, a page is shown again.
            stopped.run_until_cancelled_owned(arrivals.run()).await;
        });
        *self
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// How far the names of the library are shown here.
    pub fn feed_status(&self) -> FeedStatus {
        *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A photo moved in the mount. Durable in the outbox when it returns. Blocks on the disk, not
    /// on the network.
    pub fn moved(&self, from: &LibraryPath, to: &LibraryPath) -> Result<(), JournalError> {
        self.queue(NameChange::Move {
            from: from.clone(),
            to: to.clone(),
        })
    }

    /// A photo was removed in the mount: to the server's trash. Durable in the outbox when it
    /// returns.
    pub fn removed(&self, path: &LibraryPath) -> Result<(), JournalError> {
        self.queue(NameChange::Remove { path: path.clone() })
    }

    fn queue(&self, change: NameChange) -> Result<(), JournalError> {
        self.journal.queue_names(vec![change])?;
        self.wake();
        Ok(())
    }

    /// Something was put into the outbox (by `Journal::settle`), or the server is back: send soon.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The session of the server that journal and library speak of. Whoever uses the sync list or
    /// the shard list asks for this first: if another installation answers than before, the journal
    /// forgets what the other one said.
    pub async fn session(&self) -> Result<Session, LibraryError> {
        self.bond.session().await
    }

    /// Changes when files went back to the upload queue, because the server does not hold what a
    /// receipt of ours said.
    pub fn requeued(&self) -> watch::Receiver<u64> {
        self.requeue.subscribe()
    }

    /// Changes when the server has confirmed names: for `wait`.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.confirmed.clone()
    }

    /// Stops sending; returns when the task has ended. What was not confirmed stays in the outbox.
    pub async fn stop(&self) {
        self.stop.cancel();
        for task in [&self.task, &self.following] {
            let task = task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the library did not end well"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
