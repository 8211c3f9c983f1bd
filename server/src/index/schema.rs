//! The tables.
//!
//! One text for SQLite and PostgreSQL: BIGINT, BYTEA and TEXT, keys that we make, no sequence. Only
//! WITHOUT ROWID is SQLite's own. Times are milliseconds since the epoch, fingerprints 32 bytes,
//! versions count one user's library changes.

use sqlx::{AnyConnection, AnyPool, Connection as _, Row as _};

use super::database::Database;
use super::error::IndexError;
use super::row;

/// The schema that this server writes.
pub(super) const VERSION: i64 = 6;

/// The tables of the first schema, made where they are missing, in this order. Later schemas are
/// steps from here.
const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS users (
        id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, library_version BIGINT NOT NULL, created_ms BIGINT NOT NULL)",
    // By the hash of the token: whoever copies the index cannot log in with it.
    "CREATE TABLE IF NOT EXISTS tokens (
        hash BYTEA PRIMARY KEY, id BIGINT NOT NULL UNIQUE, user_id BIGINT NOT NULL, created_ms BIGINT NOT NULL)",
    // state: 0 stored, 1 found damaged.
    "CREATE TABLE IF NOT EXISTS images (fingerprint BYTEA PRIMARY KEY, size BIGINT NOT NULL, state BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS holdings (
        user_id BIGINT NOT NULL, fingerprint BYTEA NOT NULL, stored_at_ms BIGINT NOT NULL,
        PRIMARY KEY (user_id, fingerprint))",
    // received: see ranges.rs.
    "CREATE TABLE IF NOT EXISTS uploads (
        user_id BIGINT NOT NULL, fingerprint BYTEA NOT NULL, size BIGINT NOT NULL, received BYTEA NOT NULL,
        touched_ms BIGINT NOT NULL, PRIMARY KEY (user_id, fingerprint))",
    "CREATE INDEX IF NOT EXISTS uploads_by_age ON uploads (touched_ms)",
    "CREATE TABLE IF NOT EXISTS proof_failures (
        user_id BIGINT NOT NULL, day BIGINT NOT NULL, failures BIGINT NOT NULL, PRIMARY KEY (user_id, day))",
    // One row for each path that ever was; fingerprint, size and time are null where nothing stands
    // any more. In the order of versions the rows are the change feed.
    "CREATE TABLE IF NOT EXISTS library (
        user_id BIGINT NOT NULL, path TEXT NOT NULL, version BIGINT NOT NULL,
        fingerprint BYTEA, size BIGINT, mtime_ns BIGINT, PRIMARY KEY (user_id, path))",
    "CREATE UNIQUE INDEX IF NOT EXISTS library_by_version ON library (user_id, version)",
    "CREATE TABLE IF NOT EXISTS trash (
        user_id BIGINT NOT NULL, path TEXT NOT NULL, version BIGINT NOT NULL, fingerprint BYTEA NOT NULL,
        size BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, removed_at_ms BIGINT NOT NULL,
        PRIMARY KEY (user_id, path, version))",
    "CREATE INDEX IF NOT EXISTS trash_by_age ON trash (removed_at_ms)",
];

/// What makes each schema of the one before it: those of the second stand first.
const STEPS: &[&[&str]] = &[
    &[
        // state: 0 active, 1 disabled.
        "ALTER TABLE users ADD COLUMN state BIGINT NOT NULL DEFAULT 0",
        // scope: 0 full, 1 append-only, 2 read-only.
        "ALTER TABLE tokens ADD COLUMN scope BIGINT NOT NULL DEFAULT 0",
        // The device's name. Those that were there before devices had names get one of their own.
        "ALTER TABLE tokens ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "UPDATE tokens SET name = 'device-' || id",
        "CREATE UNIQUE INDEX tokens_by_name ON tokens (user_id, name)",
    ],
    // A hash of argon2, as PHC writes it; null for who has no password.
    &["ALTER TABLE users ADD COLUMN password TEXT"],
    &[
        // Pages of a user's trash.
        "CREATE INDEX trash_by_version ON trash (user_id, version)",
        // Whether anything still names an image, when trash is purged.
        "CREATE INDEX trash_by_image ON trash (user_id, fingerprint)",
        "CREATE INDEX library_by_image ON library (user_id, fingerprint)",
        // The few that were found damaged, among millions.
        "CREATE INDEX images_damaged ON images (fingerprint) WHERE state = 1",
        // The most that a user may hold, in bytes; null for no limit. What they hold is counted
        // with every change of it: a sum over all their images for each new one would make the last
        // photo of a library the slowest.
        "ALTER TABLE users ADD COLUMN quota_bytes BIGINT",
        "ALTER TABLE users ADD COLUMN held_bytes BIGINT NOT NULL DEFAULT 0",
        "UPDATE users SET held_bytes = (
            SELECT CAST(COALESCE(SUM(images.size), 0) AS BIGINT)
            FROM holdings JOIN images ON images.fingerprint = holdings.fingerprint WHERE holdings.user_id = users.id)",
    ],
    &[
        // Images that somebody let go of, and when the last of them did: whoever clears away looks
        // through these few instead of all. Whether somebody else still refers to one is asked
        // then.
        "CREATE TABLE released (fingerprint BYTEA PRIMARY KEY, since_ms BIGINT NOT NULL)",
        "CREATE INDEX holdings_by_image ON holdings (fingerprint)",
        "CREATE INDEX uploads_by_image ON uploads (fingerprint)",
        // Those of which nobody took note so far.
        "INSERT INTO released (fingerprint, since_ms)
         SELECT fingerprint, 0 FROM images
         WHERE NOT EXISTS (SELECT 1 FROM holdings WHERE holdings.fingerprint = images.fingerprint)",
    ],
    &[
        // Rows in the order of their keys, not of their arrival beside an index of the keys: a look
        // at an image reads half the pages.
        "CREATE TABLE images_by_key (
            fingerprint BYTEA PRIMARY KEY, size BIGINT NOT NULL, state BIGINT NOT NULL) WITHOUT ROWID",
        "INSERT INTO images_by_key SELECT fingerprint, size, state FROM images ORDER BY fingerprint",
        "DROP TABLE images",
        "ALTER TABLE images_by_key RENAME TO images",
        "CREATE INDEX images_damaged ON images (fingerprint) WHERE state = 1",
        "CREATE TABLE holdings_by_key (
            user_id BIGINT NOT NULL, fingerprint BYTEA NOT NULL, stored_at_ms BIGINT NOT NULL,
            PRIMARY KEY (user_id, fingerprint)) WITHOUT ROWID",
        "INSERT INTO holdings_by_key
         SELECT user_id, fingerprint, stored_at_ms FROM holdings ORDER BY user_id, fingerprint",
        "DROP TABLE holdings",
        "ALTER TABLE holdings_by_key RENAME TO holdings",
        "CREATE INDEX holdings_by_image ON holdings (fingerprint)",
    ],
];

/// Brings the tables to this server's schema; refuses those of a newer one.
pub(super) async fn prepare(database: &Database) -> Result<(), IndexError> {
    let mut connection = database
        .writes()
        .acquire()
        .await
        .map_err(IndexError::Open)?;
    let mut tables = connection
        .begin_with(database.begin())
        .await
        .map_err(IndexError::Open)?;
    refuse_newer(&mut tables).await?;
    for statement in TABLES {
        sqlx::query(*statement)
            .execute(&mut *tables)
            .await
            .map_err(IndexError::Open)?;
    }
    fill(&mut tables).await?;
    step_up(&mut tables).await?;
    tables.commit().await.map_err(IndexError::Open)
}

/// The secret of this installation.
pub(super) async fn secret(reads: &AnyPool) -> Result<[u8; 32], IndexError> {
    let row = sqlx::query("SELECT value FROM settings WHERE name = 'secret'")
        .fetch_one(reads)
        .await;
    let row = row.map_err(IndexError::statement("read the installation's secret"))?;
    row::bytes(&row, 0)?
        .try_into()
        .map_err(|_| IndexError::Corrupt("secret"))
}

/// Before anything is made: an index of a newer server must not be touched.
async fn refuse_newer(tables: &mut AnyConnection) -> Result<(), IndexError> {
    sqlx::query(TABLES[0])
        .execute(&mut *tables)
        .await
        .map_err(IndexError::Open)?;
    match found(tables).await? {
        Some(found) if found > VERSION => Err(IndexError::NewerSchema {
            found,
            known: VERSION,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The schema that the tables have; none if they were only just made.
async fn found(tables: &mut AnyConnection) -> Result<Option<i64>, IndexError> {
    let row = sqlx::query("SELECT version FROM schema_version WHERE id = 1")
        .fetch_optional(tables)
        .await;
    row.map_err(IndexError::Open)?
        .map(|row| row.try_get(0).map_err(IndexError::Open))
        .transpose()
}

/// Takes the steps that are missing, each once.
async fn step_up(tables: &mut AnyConnection) -> Result<(), IndexError> {
    let found = found(tables)
        .await?
        .ok_or(IndexError::Corrupt("schema version"))?;
    for (step, to) in STEPS.iter().zip(2_i64..).filter(|(_, to)| *to > found) {
        for statement in *step {
            sqlx::query(*statement)
                .execute(&mut *tables)
                .await
                .map_err(IndexError::Open)?;
        }
        sqlx::query("UPDATE schema_version SET version = $1 WHERE id = 1")
            .bind(to)
            .execute(&mut *tables)
            .await
            .map_err(IndexError::Open)?;
    }
    Ok(())
}

/// The rows that every index has.
async fn fill(tables: &mut AnyConnection) -> Result<(), IndexError> {
    sqlx::query(
        "INSERT INTO schema_version (id, version) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
    )
    .bind(1_i64)
    .execute(&mut *tables)
    .await
    .map_err(IndexError::Open)?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(IndexError::Random)?;
    sqlx::query(
        "INSERT INTO settings (name, value) VALUES ('secret', $1) ON CONFLICT (name) DO NOTHING",
    )
    .bind(secret.as_slice())
    .execute(&mut *tables)
    .await
    .map_err(IndexError::Open)?;
    Ok(())
}
