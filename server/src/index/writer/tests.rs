//! Group commit of the index: concurrent writes, rejected writes, failed commits.

use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::config::DataDir;
use crate::index::schema;

/// How long an event may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A write that blocks until it is released, so that later ones queue up.
struct Pause {
    begun: Arc<Notify>,
    over: Arc<Notify>,
}

#[async_trait]
impl Write for Pause {
    type Output = ();

    async fn apply(&self, _rows: &mut AnyConnection) -> Result<(), IndexError> {
        self.begun.notify_one();
        self.over.notified().await;
        Ok(())
    }
}

/// Runs a statement; returns how many settings there are afterwards, inside this transaction and
/// outside of it.
struct Run {
    database: Database,
    statement: String,
}

#[async_trait]
impl Write for Run {
    type Output = (i64, i64);

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(i64, i64), IndexError> {
        let run = sqlx::query(sqlx::AssertSqlSafe(self.statement.clone()))
            .execute(&mut *rows)
            .await;
        run.map_err(IndexError::statement("run a statement"))?;
        let count = || sqlx::query("SELECT COUNT(*) FROM settings");
        let inside = count()
            .fetch_one(rows)
            .await
            .map_err(IndexError::statement("count"))?;
        let outside = count()
            .fetch_one(self.database.read_pool())
            .await
            .map_err(IndexError::statement("count"))?;
        Ok((inside.get(0), outside.get(0)))
    }
}

struct Fixture {
    database: Database,
    writer: Writer,
    folder: tempfile::TempDir,
}

type Results = Vec<JoinHandle<Result<(i64, i64), IndexError>>>;

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let database = Database::open(&data.index_url()).await.unwrap();
        schema::prepare(database.write_pool(), database.begin())
            .await
            .unwrap();
        Self {
            writer: Writer::start(database.clone()),
            database,
            folder,
        }
    }

    /// Changes a setting of the writer's connection.
    async fn set(&self, pragma: &'static str) {
        let mut writer = self.database.write_pool().acquire().await.unwrap();
        sqlx::query(pragma).execute(&mut *writer).await.unwrap();
    }

    /// Queues these statements while the writer is busy, so that they wait together, in this order.
    async fn run_together(&self, statements: &[&str]) -> Results {
        let (begun, over) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let pause = Pause {
            begun: Arc::clone(&begun),
            over: Arc::clone(&over),
        };
        let writer = self.writer.clone();
        tokio::spawn(async move { writer.write(pause).await });
        tokio::time::timeout(SOON, begun.notified())
            .await
            .expect("the writer begins");
        let mut answers = Vec::new();
        for statement in statements {
            let waiting = self.writer.queue.capacity();
            let (writer, database, statement) = (
                self.writer.clone(),
                self.database.clone(),
                (*statement).to_owned(),
            );
            answers.push(tokio::spawn(async move {
                writer
                    .write(Run {
                        database,
                        statement,
                    })
                    .await
            }));
            while self.writer.queue.capacity() == waiting {
                tokio::task::yield_now().await;
            }
        }
        over.notify_one();
        answers
    }
}

async fn result(
    waiting: JoinHandle<Result<(i64, i64), IndexError>>,
) -> Result<(i64, i64), IndexError> {
    tokio::time::timeout(SOON, waiting)
        .await
        .expect("the writer answers")
        .unwrap()
}

const ADD_A: &str = "INSERT INTO settings (name, value) VALUES ('a', 'x')";
const ADD_B: &str = "INSERT INTO settings (name, value) VALUES ('b', 'x')";
const BROKEN: &str = "INSERT INTO settings (name, value) VALUES ('a', 'x'), (NULL, NULL)";

#[tokio::test]
async fn writes_that_wait_share_one_commit() {
    let fixture = Fixture::new().await;
    let mut answers = fixture.run_together(&[ADD_A, ADD_B]).await;
    // There is the secret before. The second sees the first, and nobody else does: neither is
    // committed yet.
    assert_eq!(result(answers.remove(0)).await.unwrap(), (2, 1));
    assert_eq!(result(answers.remove(0)).await.unwrap(), (3, 1));
}

#[tokio::test]
async fn a_write_that_the_database_rejects_fails_alone() {
    let fixture = Fixture::new().await;
    let mut answers = fixture.run_together(&[ADD_A, BROKEN, ADD_B]).await;
    assert_eq!(result(answers.remove(0)).await.unwrap(), (2, 1));
    let error = result(answers.remove(0)).await.unwrap_err();
    assert!(matches!(error, IndexError::Statement { .. }), "{error}");
    assert_eq!(
        result(answers.remove(0)).await.unwrap(),
        (3, 2),
        "in a transaction of its own"
    );
}

#[tokio::test]
async fn a_full_disk_and_a_busy_database_are_distinct_errors() {
    let fixture = Fixture::new().await;
    fixture.set("PRAGMA max_page_count = 1").await;
    let large = "INSERT INTO settings (name, value) VALUES ('large', zeroblob(1000000))";
    let error = result(fixture.run_together(&[large]).await.remove(0))
        .await
        .unwrap_err();
    assert!(error.is_full() && !error.is_transient(), "{error:?}");
    // SQLite rolls back by itself then; the writer must not be left behind in a transaction that is
    // gone.
    assert_eq!(
        result(fixture.run_together(&[ADD_A]).await.remove(0))
            .await
            .unwrap(),
        (2, 1)
    );

    let url = format!(
        "sqlite://{}",
        fixture.folder.path().join("data/index.sqlite").display()
    );
    let other = Database::open(&url).await.unwrap();
    let mut other = other.write_pool().acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *other)
        .await
        .unwrap();
    fixture.set("PRAGMA busy_timeout = 1").await;
    let run = Run {
        database: fixture.database.clone(),
        statement: ADD_B.to_owned(),
    };
    let error = tokio::time::timeout(SOON, fixture.writer.write(run))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.is_transient() && !error.is_full(), "{error:?}");
}

#[tokio::test]
async fn a_failed_commit_fails_its_whole_group_and_no_later_write() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.database.write_pool().acquire().await.unwrap();
    // A broken reference that is only looked at when the transaction commits.
    for statement in [
        "CREATE TABLE a (id BIGINT PRIMARY KEY)",
        "CREATE TABLE b (id BIGINT REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)",
    ] {
        sqlx::query(statement)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    drop(connection);
    let answers = fixture
        .run_together(&[ADD_A, "INSERT INTO b (id) VALUES (7)", ADD_B])
        .await;
    for waiting in answers {
        let error = result(waiting).await.unwrap_err();
        assert!(matches!(error, IndexError::Commit(_)), "{error}");
    }
    let mut again = fixture.run_together(&[ADD_A]).await;
    assert_eq!(
        result(again.remove(0)).await.unwrap(),
        (2, 1),
        "nothing of the failed group is left"
    );
}
