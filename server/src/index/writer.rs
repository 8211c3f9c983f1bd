//! The writer: one task through which every write goes, and which commits them in groups.
//!
//! A commit waits for the disk; writes that arrive meanwhile are committed together next (group
//! commit). So a hundred images stored at once cost a few waits, not a hundred. No write returns
//! before its commit.
//!
//! A write decides before it changes anything: a refusal like `NameTaken` leaves the group as it
//! was. If the database rejects a statement, the group is rolled back and each of its writes is
//! applied in a transaction of its own, so that only the faulty one fails.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AnyConnection, Connection as _};
use tokio::sync::{mpsc, oneshot};

use super::database::Database;
use super::error::IndexError;

/// The most queued writes; further callers wait for a free slot.
const QUEUE_MAX: usize = 256;

/// The most writes in one transaction: bounds how long the first of a group waits for the last.
const GROUP_MAX: usize = 128;

/// A change of the index.
#[async_trait]
pub(super) trait Write: Send + Sync + 'static {
    /// The result of the write.
    type Output: Send + 'static;

    /// Decides, then changes rows. May be applied again after a rollback.
    async fn apply(&self, rows: &mut AnyConnection) -> Result<Self::Output, IndexError>;
}

/// Queues writes. Clones share the queue.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    /// How many writes there were so far.
    #[cfg(test)]
    write_count: Arc<std::sync::atomic::AtomicU64>,
}

/// A message to the writer's task.
enum Message {
    /// Applies a write.
    Write(Box<dyn QueuedWrite>),
    /// Stops after the writes queued before it.
    Stop(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the task.
    pub(super) fn start(database: Database) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(commit_groups(database, messages));
        Self {
            queue,
            #[cfg(test)]
            write_count: Arc::default(),
        }
    }

    /// Queues a write and waits for its commit; it is durable on return.
    pub(super) async fn write<W: Write>(&self, write: W) -> Result<W::Output, IndexError> {
        #[cfg(test)]
        self.write_count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (reply, result) = oneshot::channel();
        let queued = Queued {
            write,
            outcome: None,
            reply,
        };
        self.queue
            .send(Message::Write(Box::new(queued)))
            .await
            .map_err(|_| IndexError::Closed)?;
        result.await.map_err(|_| IndexError::Closed)?
    }

    /// How many writes there were so far.
    #[cfg(test)]
    pub(super) fn write_count(&self) -> u64 {
        self.write_count.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Accepts no more writes, and returns when the queued ones are committed.
    pub(super) async fn stop(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.queue.send(Message::Stop(stopped)).await.is_ok() && wait.await.is_err() {
            tracing::debug!("another caller stopped the index's writer first");
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Writer")
    }
}

async fn commit_groups(database: Database, mut messages: mpsc::Receiver<Message>) {
    let mut received = Vec::with_capacity(GROUP_MAX);
    let mut stopped = Vec::new();
    while messages.recv_many(&mut received, GROUP_MAX).await > 0 {
        let mut group = Vec::with_capacity(received.len());
        for message in received.drain(..) {
            match message {
                Message::Write(write) => group.push(write),
                Message::Stop(reply) => {
                    messages.close();
                    stopped.push(reply);
                }
            }
        }
        if !group.is_empty() {
            commit(&database, group).await;
        }
    }
    for reply in stopped {
        if reply.send(()).is_err() {
            tracing::debug!("the caller that stopped the index's writer is gone");
        }
    }
}

/// Commits a group in one transaction; one by one if the database rejects one of its writes.
async fn commit(database: &Database, mut group: Vec<Box<dyn QueuedWrite>>) {
    let outcome = run_transaction(database, &mut group).await;
    if group.len() == 1 || !matches!(outcome, Err(Failure::Write)) {
        return reply_all(group, outcome);
    }
    for write in group {
        let mut single = vec![write];
        let outcome = run_transaction(database, &mut single).await;
        reply_all(single, outcome);
    }
}

/// Sends every write's result, now that the transaction is over.
fn reply_all(group: Vec<Box<dyn QueuedWrite>>, outcome: Result<(), Failure>) {
    match outcome {
        Ok(()) | Err(Failure::Write) => group.into_iter().for_each(QueuedWrite::reply),
        Err(Failure::Transaction(error)) => group.into_iter().for_each(|write| write.fail(&error)),
    }
}

/// Why a transaction was rolled back.
enum Failure {
    /// The database rejected a write, which holds its own error.
    Write,
    /// It could not be begun or committed.
    Transaction(Arc<sqlx::Error>),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(Arc::new(error))
    }
}

/// Applies a group in one transaction.
async fn run_transaction(
    database: &Database,
    group: &mut [Box<dyn QueuedWrite>],
) -> Result<(), Failure> {
    let mut connection = database.write_pool().acquire().await?;
    let outcome = commit_on(&mut connection, database.begin(), group).await;
    if outcome.is_err() {
        // After some errors (a full disk) SQLite has rolled back by itself, and sqlx would count a
        // transaction that does not exist any more. A new connection starts clean; closing this one
        // rolls back whatever it had begun.
        if let Err(error) = connection.close().await {
            tracing::warn!(
                %error,
                "could not close the index's connection after a failed transaction"
            );
        }
    }
    outcome
}

async fn commit_on(
    connection: &mut AnyConnection,
    begin: &'static str,
    group: &mut [Box<dyn QueuedWrite>],
) -> Result<(), Failure> {
    let mut rows = connection.begin_with(begin).await?;
    for write in group {
        if write.apply(&mut rows).await == Applied::Rejected {
            return Err(Failure::Write);
        }
    }
    rows.commit().await?;
    Ok(())
}

/// Whether a transaction can continue after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    /// The write was applied, or refused by itself without changing anything.
    Ok,
    /// The database rejected a statement.
    Rejected,
}

/// A queued write of any type.
#[async_trait]
trait QueuedWrite: Send {
    /// Applies the write and keeps its result.
    async fn apply(&mut self, rows: &mut AnyConnection) -> Applied;
    /// Sends the result of the last `apply`.
    fn reply(self: Box<Self>);
    /// Sends the error of the transaction.
    fn fail(self: Box<Self>, error: &Arc<sqlx::Error>);
}

/// A write with its result and its caller.
struct Queued<W: Write> {
    write: W,
    outcome: Option<Result<W::Output, IndexError>>,
    reply: oneshot::Sender<Result<W::Output, IndexError>>,
}

#[async_trait]
impl<W: Write> QueuedWrite for Queued<W> {
    async fn apply(&mut self, rows: &mut AnyConnection) -> Applied {
        let outcome = self.write.apply(rows).await;
        let applied = match &outcome {
            Err(error) if !error.is_refusal() => Applied::Rejected,
            Ok(_) | Err(_) => Applied::Ok,
        };
        self.outcome = Some(outcome);
        applied
    }

    fn reply(self: Box<Self>) {
        let outcome = self.outcome.expect("a write is applied before its reply");
        // A caller that stopped waiting will retry: every write may be sent twice.
        drop(self.reply.send(outcome));
    }

    fn fail(self: Box<Self>, error: &Arc<sqlx::Error>) {
        drop(self.reply.send(Err(IndexError::Commit(Arc::clone(error)))));
    }
}

#[cfg(test)]
mod tests;
