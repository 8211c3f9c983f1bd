//! The one thread that writes, and the queue before it.
//!
//! A durable commit costs the disk a few flushes, however little it holds. So whoever wants
//! something written hands it in and waits; while one group is on its way to the disk the next one
//! gathers, and is committed as one.

use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::error::{Fault, JournalError};
use super::store::Store;
use super::tables::Tables;

/// Requests that may wait before the next one has to wait for room: more than there are threads
/// that write.
const WAITING_MAX: usize = 256;
/// Requests in one commit: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 256;

/// The door to the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// None after `stop`.
    requests: Mutex<Option<SyncSender<Box<dyn Request>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What was asked for and will be answered when it is durable.
pub(super) struct Ticket<T>(Receiver<Result<T, JournalError>>);

impl<T> Ticket<T> {
    /// Waits until it is durable, or failed.
    pub(super) fn wait(self) -> Result<T, JournalError> {
        // A request is always answered, unless its thread is gone.
        self.0
            .recv()
            .unwrap_or_else(|RecvError| Err(JournalError::Closed))
    }
}

impl Writer {
    pub(super) fn start(store: Arc<Store>) -> Result<Self, JournalError> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_groups(&store, &receiver))
            .map_err(|source| JournalError::Thread(Arc::new(source)))?;
        Ok(Self {
            requests: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands in a change. Waits for room in the queue, not for the disk.
    pub(super) fn submit<C, T>(&self, change: C) -> Result<Ticket<T>, JournalError>
    where
        C: FnOnce(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
        T: Send + 'static,
    {
        let sender = self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (answer, ticket) = sync_channel(1);
        let asked = Asked {
            change: Some(change),
            outcome: Err(JournalError::Closed),
            answer,
        };
        sender
            .ok_or(JournalError::Closed)?
            .send(Box::new(asked))
            .map_err(|_| JournalError::Closed)?;
        Ok(Ticket(ticket))
    }

    /// Writes what was handed in, then ends the thread.
    pub(super) fn stop(&self) {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer thread panicked");
        }
    }
}

/// One request among those of a group, whatever its answer looks like.
trait Request: Send {
    /// Makes the change, in a transaction that is not committed yet. An error voids the whole
    /// group.
    fn carry_out(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error>;
    /// Tells the one who waits, now that the group was committed or not.
    fn answer(self: Box<Self>, committed: Result<(), JournalError>);
}

struct Asked<C, T> {
    change: Option<C>,
    outcome: Result<T, JournalError>,
    answer: SyncSender<Result<T, JournalError>>,
}

impl<C, T> Request for Asked<C, T>
where
    C: FnOnce(&mut Tables<'_>) -> Result<T, Fault> + Send,
    T: Send,
{
    fn carry_out(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error> {
        let change = self.change.take().expect("a group is carried out once");
        self.outcome = match change(tables) {
            Ok(outcome) => Ok(outcome),
            Err(Fault::Storage(source)) => return Err(source),
            Err(Fault::Record { what, source }) => Err(JournalError::Record { what, source }),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), JournalError>) {
        let answer = committed.and(self.outcome);
        if self.answer.send(answer).is_err() {
            tracing::trace!("nobody waits for this write any more");
        }
    }
}

fn write_groups(store: &Store, requests: &Receiver<Box<dyn Request>>) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        group.extend(requests.try_iter().take(GROUP_MAX - 1));
        let committed = store.write(|tables| {
            group
                .iter_mut()
                .try_for_each(|request| request.carry_out(tables))
        });
        tracing::trace!(
            requests = group.len(),
            ok = committed.is_ok(),
            "group committed"
        );
        for request in group {
            request.answer(committed.clone());
        }
    }
}
