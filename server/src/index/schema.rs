//! The tables and their migrations.
//!
//! One text for SQLite and PostgreSQL: BIGINT, BYTEA and TEXT, keys that we generate, no sequences.
//! Only WITHOUT ROWID is specific to SQLite. Times are milliseconds since the epoch, fingerprints
//! 32 bytes, versions count one user's library changes.

use sqlx::{AnyConnection, AnyPool, Connection as _, Row as _};

use super::error::IndexError;
use super::row;

/// The schema version that this server writes.
pub(super) const VERSION: i64 = 6;

/// The tables of schema version 1, created where they are missing, in this order. Later versions
/// are migrations from here.
const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS users (
        id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, library_version BIGINT NOT NULL, created_ms BIGINT NOT NULL)",
    // Keyed by the hash of the token: a copy of the index does not let anybody log in.
    "CREATE TABLE IF NOT EXISTS tokens (
        hash BYTEA PRIMARY KEY, id BIGINT NOT NULL UNIQUE, user_id BIGINT NOT NULL, created_ms BIGINT NOT NULL)",
    // state: 0 stored, 1 found corrupt.
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
    // One row for each path that ever existed; fingerprint, size and time are null where there is
    // no photo any more. In the order of versions the rows are the change feed.
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

/// The migrations: the first list leads from version 1 to version 2, and so on.
const MIGRATIONS: &[&[&str]] = &[
    &[
        // state: 0 active, 1 disabled.
        "ALTER TABLE users ADD COLUMN state BIGINT NOT NULL DEFAULT 0",
        // scope: 0 full, 1 append-only, 2 read-only.
        "ALTER TABLE tokens ADD COLUMN scope BIGINT NOT NULL DEFAULT 0",
        // The device's name. Tokens from before devices had names get a unique one.
        "ALTER TABLE tokens ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "UPDATE tokens SET name = 'device-' || id",
        "CREATE UNIQUE INDEX tokens_by_name ON tokens (user_id, name)",
    ],
    // An argon2 hash in PHC format; null without a password.
    &["ALTER TABLE users ADD COLUMN password TEXT"],
    &[
        // Pages of a user's trash.
        "CREATE INDEX trash_by_version ON trash (user_id, version)",
        // Whether anything still refers to an image, when trash is purged.
        "CREATE INDEX trash_by_image ON trash (user_id, fingerprint)",
        "CREATE INDEX library_by_image ON library (user_id, fingerprint)",
        // The few corrupt images, among millions.
        "CREATE INDEX images_damaged ON images (fingerprint) WHERE state = 1",
        // The quota in bytes, null for no limit, and the bytes held. The latter is updated with
        // every holding: a sum over all images for each new one would make the last photo of a
        // library the slowest.
        "ALTER TABLE users ADD COLUMN quota_bytes BIGINT",
        "ALTER TABLE users ADD COLUMN held_bytes BIGINT NOT NULL DEFAULT 0",
        "UPDATE users SET held_bytes = (
            SELECT CAST(COALESCE(SUM(images.size), 0) AS BIGINT)
            FROM holdings JOIN images ON images.fingerprint = holdings.fingerprint WHERE holdings.user_id = users.id)",
    ],
    &[
        // Images that a user stopped holding, and when the last one did: garbage collection looks
        // at these few instead of all. It checks then whether anybody else still refers to one.
        "CREATE TABLE released (fingerprint BYTEA PRIMARY KEY, since_ms BIGINT NOT NULL)",
        "CREATE INDEX holdings_by_image ON holdings (fingerprint)",
        "CREATE INDEX uploads_by_image ON uploads (fingerprint)",
        // Images that were unreferenced before this table existed.
        "INSERT INTO released (fingerprint, since_ms)
         SELECT fingerprint, 0 FROM images
         WHERE NOT EXISTS (SELECT 1 FROM holdings WHERE holdings.fingerprint = images.fingerprint)",
    ],
    &[
        // Rows in the order of their keys, instead of in the order of insertion with a separate
        // index: looking up an image reads half the pages.
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

/// Creates or migrates the tables to this server's schema; refuses those of a newer one. `begin` is
/// the statement that begins a write transaction.
pub(super) async fn prepare(writes: &AnyPool, begin: &'static str) -> Result<(), IndexError> {
    let mut connection = writes.acquire().await.map_err(IndexError::Open)?;
    let mut tables = connection
        .begin_with(begin)
        .await
        .map_err(IndexError::Open)?;
    refuse_newer(&mut tables).await?;
    for statement in TABLES {
        sqlx::query(*statement)
            .execute(&mut *tables)
            .await
            .map_err(IndexError::Open)?;
    }
    insert_settings(&mut tables).await?;
    migrate(&mut tables).await?;
    tables.commit().await.map_err(IndexError::Open)
}

/// The installation's secret.
pub(super) async fn secret(reads: &AnyPool) -> Result<[u8; 32], IndexError> {
    let row = sqlx::query("SELECT value FROM settings WHERE name = 'secret'")
        .fetch_one(reads)
        .await;
    let row = row.map_err(IndexError::statement("read the installation's secret"))?;
    row::bytes(&row, 0)?
        .try_into()
        .map_err(|_| IndexError::Corrupt("secret"))
}

/// Checked before anything is created: an index of a newer server must not be touched.
async fn refuse_newer(tables: &mut AnyConnection) -> Result<(), IndexError> {
    sqlx::query(TABLES[0])
        .execute(&mut *tables)
        .await
        .map_err(IndexError::Open)?;
    match current_version(tables).await? {
        Some(found) if found > VERSION => Err(IndexError::NewerSchema {
            found,
            known: VERSION,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The schema version of the tables; `None` if they were just created.
async fn current_version(tables: &mut AnyConnection) -> Result<Option<i64>, IndexError> {
    let row = sqlx::query("SELECT version FROM schema_version WHERE id = 1")
        .fetch_optional(tables)
        .await;
    row.map_err(IndexError::Open)?
        .map(|row| row.try_get(0).map_err(IndexError::Open))
        .transpose()
}

/// Runs the missing migrations, each once.
async fn migrate(tables: &mut AnyConnection) -> Result<(), IndexError> {
    let found = current_version(tables)
        .await?
        .ok_or(IndexError::Corrupt("schema version"))?;
    for (migration, to) in MIGRATIONS.iter().zip(2_i64..).filter(|(_, to)| *to > found) {
        for statement in *migration {
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

/// Inserts the rows that every index has.
async fn insert_settings(tables: &mut AnyConnection) -> Result<(), IndexError> {
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
