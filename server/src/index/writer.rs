//! The writer: one task through which every write goes, and which commits them in groups.
//!
//! A commit waits for the disk; what asks for one meanwhile waits together and is committed
//! together next. So a hundred images that are stored at once cost a few waits and not a hundred.
//! Nothing is answered before its commit.
//!
//! A write decides before it changes anything: an answer like `NameTaken` leaves the group as it
//! was. If the database itself refuses one, the group is rolled back and each of its writes is
//! carried out in a transaction of its own, so that only the guilty one fails.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AnyConnection, Connection as _};
use tokio::sync::{mpsc, oneshot};

use super::database::Database;
use super::error::IndexError;

/// Writes that wait, at most; whoever brings more waits to be let in.
const QUEUE_MAX: usize = 256;

/// Writes in one transaction, at most: bounds how long the first of a group waits for the last.
const GROUP_MAX: usize = 128;

/// Something to write.
#[async_trait]
pub(super) trait Write: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send + 'static;

    /// Decides, then changes rows. May be carried out again after a rollback.
    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<Self::Answer, IndexError>;
}

/// Where writes are handed in.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Entry>,
    /// How often somebody wrote: see `database.rs`.
    #[cfg(test)]
    writes: Arc<std::sync::atomic::AtomicU64>,
}

enum Entry {
    Write(Box<dyn Waiting>),
    Stop(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the task.
    pub(super) fn start(database: Database) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(commit_groups(database, entries));
        Self {
            queue,
            #[cfg(test)]
            writes: Arc::default(),
        }
    }

    /// Carries out a write; durable when this returns.
    pub(super) async fn write<W: Write>(&self, write: W) -> Result<W::Answer, IndexError> {
        #[cfg(test)]
        self.writes
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let asked = Asked {
            write,
            outcome: None,
            reply,
        };
        self.queue
            .send(Entry::Write(Box::new(asked)))
            .await
            .map_err(|_| IndexError::Closed)?;
        answer.await.map_err(|_| IndexError::Closed)?
    }

    /// How often somebody wrote.
    #[cfg(test)]
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Lets no more writes in and returns when those that are in are committed.
    pub(super) async fn stop(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.queue.send(Entry::Stop(stopped)).await.is_ok() && wait.await.is_err() {
            tracing::debug!("another caller stopped the index's writer first");
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Writer")
    }
}

async fn commit_groups(database: Database, mut entries: mpsc::Receiver<Entry>) {
    let mut arrived = Vec::with_capacity(GROUP_MAX);
    let mut stopped = Vec::new();
    while entries.recv_many(&mut arrived, GROUP_MAX).await > 0 {
        let mut group = Vec::with_capacity(arrived.len());
        for entry in arrived.drain(..) {
            match entry {
                Entry::Write(write) => group.push(write),
                Entry::Stop(reply) => {
                    entries.close();
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
            tracing::debug!("nobody waits for the end of the index's writer any more");
        }
    }
}

/// Commits a group together; one by one if the database refuses one of them.
async fn commit(database: &Database, mut group: Vec<Box<dyn Waiting>>) {
    let outcome = transact(database, &mut group).await;
    if group.len() == 1 || !matches!(outcome, Err(Failure::Write)) {
        return settle(group, outcome);
    }
    for write in group {
        let mut alone = vec![write];
        let outcome = transact(database, &mut alone).await;
        settle(alone, outcome);
    }
}

/// Gives everybody their answer, now that it holds.
fn settle(group: Vec<Box<dyn Waiting>>, outcome: Result<(), Failure>) {
    match outcome {
        Ok(()) | Err(Failure::Write) => group.into_iter().for_each(Waiting::answer),
        Err(Failure::Transaction(error)) => group.into_iter().for_each(|write| write.fail(&error)),
    }
}

/// Why a transaction does not hold.
enum Failure {
    /// The database refused a write, which knows its own error.
    Write,
    /// It could not be begun or committed.
    Transaction(Arc<sqlx::Error>),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(Arc::new(error))
    }
}

/// Carries a group out in one transaction.
async fn transact(database: &Database, group: &mut [Box<dyn Waiting>]) -> Result<(), Failure> {
    let mut connection = database.writes().acquire().await?;
    let outcome = commit_on(&mut connection, database.begin(), group).await;
    if outcome.is_err() {
        // After some errors (a full disk) SQLite has rolled back by itself, and sqlx would count a
        // transaction that is not there any more. A new connection has no such past; closing this
        // one undoes whatever it had begun.
        if let Err(error) = connection.close().await {
            tracing::warn!(%error, "could not close the index's connection after a failed transaction");
        }
    }
    outcome
}

async fn commit_on(
    connection: &mut AnyConnection,
    begin: &'static str,
    group: &mut [Box<dyn Waiting>],
) -> Result<(), Failure> {
    let mut rows = connection.begin_with(begin).await?;
    for write in group {
        if write.carry_out(&mut rows).await == Verdict::Refused {
            return Err(Failure::Write);
        }
    }
    rows.commit().await?;
    Ok(())
}

/// Whether a transaction can go on after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It was carried out, or it decided to change nothing.
    Sound,
    /// The database refused a statement.
    Refused,
}

/// A write of any kind, with somebody who waits for its answer.
#[async_trait]
trait Waiting: Send {
    async fn carry_out(&mut self, rows: &mut AnyConnection) -> Verdict;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: &Arc<sqlx::Error>);
}

struct Asked<W: Write> {
    write: W,
    outcome: Option<Result<W::Answer, IndexError>>,
    reply: oneshot::Sender<Result<W::Answer, IndexError>>,
}

#[async_trait]
impl<W: Write> Waiting for Asked<W> {
    async fn carry_out(&mut self, rows: &mut AnyConnection) -> Verdict {
        let outcome = self.write.carry_out(rows).await;
        let verdict = match &outcome {
            Err(error) if !error.is_answer() => Verdict::Refused,
            Ok(_) | Err(_) => Verdict::Sound,
        };
        self.outcome = Some(outcome);
        verdict
    }

    fn answer(self: Box<Self>) {
        let outcome = self
            .outcome
            .expect("a write is carried out before it is answered");
        // Whoever stopped waiting will ask again: every write may be sent twice.
        drop(self.reply.send(outcome));
    }

    fn fail(self: Box<Self>, error: &Arc<sqlx::Error>) {
        drop(self.reply.send(Err(IndexError::Commit(Arc::clone(error)))));
    }
}

#[cfg(test)]
mod tests;
