use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::config::DataDir;

/// How long an event may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Lets those that follow gather behind it.
struct Pause {
    begun: Arc<Notify>,
    over: Arc<Notify>,
}

#[async_trait]
impl Write for Pause {
    type Answer = ();

    async fn carry_out(&self, _rows: &mut AnyConnection) -> Result<(), IndexError> {
        self.begun.notify_one();
        self.over.notified().await;
        Ok(())
    }
}

/// Runs a statement; answers how many settings there are then: as this transaction sees it, and as
/// everybody else does.
struct Run {
    database: Database,
    statement: String,
}

#[async_trait]
impl Write for Run {
    type Answer = (i64, i64);

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(i64, i64), IndexError> {
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
            .fetch_one(self.database.reads())
            .await
            .map_err(IndexError::statement("count"))?;
        Ok((inside.get(0), outside.get(0)))
    }
}

struct House {
    database: Database,
    writer: Writer,
    folder: tempfile::TempDir,
}

type Answers = Vec<JoinHandle<Result<(i64, i64), IndexError>>>;

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let database = Database::open(&data.index_url()).await.unwrap();
        Self {
            writer: Writer::start(database.clone()),
            database,
            folder,
        }
    }

    /// Changes a setting of the writer's connection.
    async fn set(&self, pragma: &'static str) {
        let mut writer = self.database.writes().acquire().await.unwrap();
        sqlx::query(pragma).execute(&mut *writer).await.unwrap();
    }

    /// Hands in these statements while the writer is busy, so that they wait together, in this
    /// order.
    async fn run_together(&self, statements: &[&str]) -> Answers {
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

async fn answer(
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
    let house = House::new().await;
    let mut answers = house.run_together(&[ADD_A, ADD_B]).await;
    // There is the secret before. The second sees the first, and nobody else does: neither is
    // committed yet.
    assert_eq!(answer(answers.remove(0)).await.unwrap(), (2, 1));
    assert_eq!(answer(answers.remove(0)).await.unwrap(), (3, 1));
}

#[tokio::test]
async fn the_one_that_the_database_refuses_fails_alone() {
    let house = House::new().await;
    let mut answers = house.run_together(&[ADD_A, BROKEN, ADD_B]).await;
    assert_eq!(answer(answers.remove(0)).await.unwrap(), (2, 1));
    let error = answer(answers.remove(0)).await.unwrap_err();
    assert!(matches!(error, IndexError::Statement { .. }), "{error}");
    assert_eq!(
        answer(answers.remove(0)).await.unwrap(),
        (3, 2),
        "in a transaction of its own"
    );
}

#[tokio::test]
async fn a_full_disk_and_a_busy_database_are_told_apart() {
    let house = House::new().await;
    house.set("PRAGMA max_page_count = 1").await;
    let large = "INSERT INTO settings (name, value) VALUES ('large', zeroblob(1000000))";
    let error = answer(house.run_together(&[large]).await.remove(0))
        .await
        .unwrap_err();
    assert!(error.is_full() && !error.is_transient(), "{error:?}");
    // SQLite rolls back by itself then; the writer must not be left behind in a transaction that is
    // gone.
    assert_eq!(
        answer(house.run_together(&[ADD_A]).await.remove(0))
            .await
            .unwrap(),
        (2, 1)
    );

    let url = format!(
        "sqlite://{}",
        house.folder.path().join("data/index.sqlite").display()
    );
    let other = Database::open(&url).await.unwrap();
    let mut other = other.writes().acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *other)
        .await
        .unwrap();
    house.set("PRAGMA busy_timeout = 1").await;
    let run = Run {
        database: house.database.clone(),
        statement: ADD_B.to_owned(),
    };
    let error = tokio::time::timeout(SOON, house.writer.write(run))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.is_transient() && !error.is_full(), "{error:?}");
}

#[tokio::test]
async fn a_failed_commit_fails_all_of_its_group_and_nobody_after_it() {
    let house = House::new().await;
    let mut connection = house.database.writes().acquire().await.unwrap();
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
    let answers = house
        .run_together(&[ADD_A, "INSERT INTO b (id) VALUES (7)", ADD_B])
        .await;
    for waiting in answers {
        let error = answer(waiting).await.unwrap_err();
        assert!(matches!(error, IndexError::Commit(_)), "{error}");
    }
    let mut again = house.run_together(&[ADD_A]).await;
    assert_eq!(
        answer(again.remove(0)).await.unwrap(),
        (2, 1),
        "nothing of the failed group is left"
    );
}
