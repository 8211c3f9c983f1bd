//! Group commit: the one thread that writes, and its queue of requests.
//!
//! A durable commit costs a few flushes, however little it holds. So writers submit their changes
//! and wait; while one group is being committed the next one gathers, and is committed as one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::database::JournalDatabase;
use super::error::{JournalError, QueryError};
use super::tables::Tables;

/// Capacity of the queue: more requests than there are threads that write.
const QUEUE_MAX: usize = 256;
/// Requests in one commit: bounds how long the first waits for the last.
const GROUP_MAX: usize = 256;

/// Handle of the writer thread.
#[derive(Debug)]
pub(super) struct GroupWriter {
    /// `None` after `stop`.
    requests: Mutex<Option<SyncSender<Box<dyn GroupRequest>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A submitted change that is not durable yet.
pub(super) struct PendingWrite<T>(Receiver<Result<T, JournalError>>);

impl<T> PendingWrite<T> {
    /// Waits until the change is durable, or failed.
    pub(super) fn wait(self) -> Result<T, JournalError> {
        // A request is always answered, unless its thread is gone.
        self.0
            .recv()
            .unwrap_or_else(|RecvError| Err(JournalError::Closed))
    }
}

impl GroupWriter {
    pub(super) fn start(database: Arc<JournalDatabase>) -> Result<Self, JournalError> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_groups(&database, &receiver))
            .map_err(|source| JournalError::Thread(Arc::new(source)))?;
        Ok(Self {
            requests: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Submits a change. Waits for capacity in the queue, not for the disk.
    pub(super) fn submit<C, T>(&self, change: C) -> Result<PendingWrite<T>, JournalError>
    where
        C: FnOnce(&mut Tables<'_>) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        let sender = self.requests.lock().clone();
        let (reply, pending) = sync_channel(1);
        let request = ChangeRequest {
            change: Some(change),
            outcome: Err(JournalError::Closed),
            reply,
        };
        sender
            .ok_or(JournalError::Closed)?
            .send(Box::new(request))
            .map_err(|_| JournalError::Closed)?;
        Ok(PendingWrite(pending))
    }

    /// Commits what was submitted, then ends the thread.
    pub(super) fn stop(&self) {
        self.requests.lock().take();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer thread panicked");
        }
    }
}

/// A request in a group, whatever the type of its reply.
trait GroupRequest: Send {
    /// Makes the change, in a transaction that is not committed yet. An error aborts the whole
    /// group.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error>;
    /// Replies to the caller once the group was committed, or not.
    fn reply(self: Box<Self>, committed: Result<(), JournalError>);
}

struct ChangeRequest<C, T> {
    change: Option<C>,
    outcome: Result<T, JournalError>,
    reply: SyncSender<Result<T, JournalError>>,
}

impl<C, T> GroupRequest for ChangeRequest<C, T>
where
    C: FnOnce(&mut Tables<'_>) -> Result<T, QueryError> + Send,
    T: Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error> {
        let change = self.change.take().expect("a request is applied once");
        self.outcome = match change(tables) {
            Ok(outcome) => Ok(outcome),
            Err(QueryError::Storage(source)) => return Err(source),
            Err(QueryError::Record { what, source }) => Err(JournalError::Record { what, source }),
        };
        Ok(())
    }

    fn reply(self: Box<Self>, committed: Result<(), JournalError>) {
        let reply = committed.and(self.outcome);
        if self.reply.send(reply).is_err() {
            tracing::trace!("the caller of a write does not wait any more");
        }
    }
}

fn write_groups(database: &JournalDatabase, requests: &Receiver<Box<dyn GroupRequest>>) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        group.extend(requests.try_iter().take(GROUP_MAX - 1));
        let committed = database.write(|tables| {
            group
                .iter_mut()
                .try_for_each(|request| request.apply(tables))
        });
        tracing::trace!(
            requests = group.len(),
            ok = committed.is_ok(),
            "committed a group of writes"
        );
        for request in group {
            request.reply(committed.clone());
        }
    }
}
