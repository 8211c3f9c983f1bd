//! Libraries in the tables of the index.

use std::collections::HashMap;

use async_trait::async_trait;
use heirloom_protocol::message::{LibraryEntry, LibraryFeed, LibraryPhoto};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{Fingerprint, LibraryPath};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::super::error::IndexError;
use super::super::row;
use super::ledger::{Ledger, PathState, TrashedPhoto};
use super::store::LibraryStore;
use crate::clock::system_now_ms;

/// Libraries in the tables of the index, over one connection.
pub(super) struct SqlLibrary<'a> {
    rows: &'a mut AnyConnection,
}

impl<'a> SqlLibrary<'a> {
    /// Libraries over this connection, or the transaction that is open on it.
    pub(super) const fn new(rows: &'a mut AnyConnection) -> Self {
        Self { rows }
    }

    async fn save_paths(
        &mut self,
        user: UserId,
        paths: &[(&LibraryPath, PathState)],
    ) -> Result<(), IndexError> {
        let values = row::value_list(paths.len(), |row| {
            let first = 5 * row + 2;
            format!(
                "($1, ${first}, ${}, ${}, ${}, ${})",
                first + 1,
                first + 2,
                first + 3,
                first + 4
            )
        });
        let statement = format!(
            "INSERT INTO library (user_id, path, version, fingerprint, size, mtime_ns)
             VALUES {values}
             ON CONFLICT (user_id, path) DO UPDATE
             SET version = excluded.version, fingerprint = excluded.fingerprint,
             size = excluded.size, mtime_ns = excluded.mtime_ns"
        );
        let query = row::query(statement).bind(user.0);
        let query = paths.iter().fold(query, |query, (path, state)| {
            let fingerprint = state.photo.map(|photo| photo.fingerprint);
            query
                .bind(path.as_str())
                .bind(row::to_column(state.version))
                .bind(fingerprint.map(|fingerprint| fingerprint.as_bytes().to_vec()))
                .bind(state.photo.map(|photo| row::to_column(photo.size)))
                .bind(state.photo.map(|photo| photo.mtime_ns))
        });
        query
            .execute(&mut *self.rows)
            .await
            .map(drop)
            .map_err(IndexError::statement("change a library"))
    }

    async fn save_trashed(
        &mut self,
        user: UserId,
        trashed: &TrashedPhoto,
        removed_at_ms: i64,
    ) -> Result<(), IndexError> {
        let done = sqlx::query(
            "INSERT INTO trash (user_id, path, version, fingerprint, size, mtime_ns, removed_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, path, version) DO NOTHING",
        )
        .bind(user.0)
        .bind(trashed.path.as_str())
        .bind(row::to_column(trashed.version))
        .bind(trashed.photo.fingerprint.as_bytes().as_slice())
        .bind(row::to_column(trashed.photo.size))
        .bind(trashed.photo.mtime_ns)
        .bind(removed_at_ms)
        .execute(&mut *self.rows)
        .await;
        done.map(drop)
            .map_err(IndexError::statement("move a photo to the trash"))
    }
}

#[async_trait]
impl LibraryStore for SqlLibrary<'_> {
    /// The update changes nothing; it locks the row.
    async fn lock_version(&mut self, user: UserId) -> Result<u64, IndexError> {
        let found = sqlx::query(
            "UPDATE users SET library_version = library_version WHERE id = $1
                RETURNING library_version",
        )
        .bind(user.0)
        .fetch_optional(&mut *self.rows)
        .await
        .map_err(IndexError::statement("read a user's count of changes"))?;
        row::count(&found.ok_or(IndexError::NoSuchUser(user))?, 0)
    }

    async fn path_states(
        &mut self,
        user: UserId,
        paths: &[&LibraryPath],
    ) -> Result<HashMap<LibraryPath, PathState>, IndexError> {
        if paths.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::in_list(
            "SELECT path, version, fingerprint, size, mtime_ns FROM library WHERE user_id = ?
             AND path IN",
            user.0,
            paths,
            |query, path| query.bind(path.as_str().to_owned()),
        );
        let found = query
            .fetch_all(&mut *self.rows)
            .await
            .map_err(IndexError::statement("read a library"))?;
        let state = |entry: LibraryEntry| {
            let state = PathState {
                version: entry.version,
                photo: entry.photo,
            };
            (entry.path, state)
        };
        found.iter().map(|row| entry(row).map(state)).collect()
    }

    async fn held_sizes(
        &mut self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, u64>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::in_list(
            "SELECT holdings.fingerprint, images.size
             FROM holdings JOIN images ON images.fingerprint = holdings.fingerprint
             WHERE holdings.user_id = ? AND holdings.fingerprint IN",
            user.0,
            fingerprints,
            row::bind_fingerprint,
        );
        let found = query
            .fetch_all(&mut *self.rows)
            .await
            .map_err(IndexError::statement("read what a user holds"))?;
        found
            .iter()
            .map(|row| Ok((row::fingerprint(row, 0)?, row::count(row, 1)?)))
            .collect()
    }

    async fn save(&mut self, user: UserId, ledger: &Ledger) -> Result<(), IndexError> {
        sqlx::query("UPDATE users SET library_version = $2 WHERE id = $1")
            .bind(user.0)
            .bind(row::to_column(ledger.version))
            .execute(&mut *self.rows)
            .await
            .map_err(IndexError::statement("count a user's changes"))?;
        let changed: Vec<_> = ledger
            .changed
            .iter()
            .map(|path| (path, ledger.paths[path]))
            .collect();
        for chunk in row::power_of_two_chunks(&changed) {
            self.save_paths(user, chunk).await?;
        }
        let removed_at_ms = system_now_ms();
        for trashed in &ledger.trash {
            self.save_trashed(user, trashed, removed_at_ms).await?;
        }
        Ok(())
    }

    async fn changes_since(
        &mut self,
        user: UserId,
        since: u64,
        limit: usize,
    ) -> Result<LibraryFeed, IndexError> {
        // One row more than requested shows whether there is more.
        let rows = sqlx::query(
            "SELECT path, version, fingerprint, size, mtime_ns FROM library
             WHERE user_id = $1 AND version > $2 ORDER BY version LIMIT $3",
        )
        .bind(user.0)
        .bind(row::to_column(since))
        .bind(row::to_column(limit as u64).saturating_add(1))
        .fetch_all(&mut *self.rows)
        .await
        .map_err(IndexError::statement("read the change feed"))?;
        let entries: Vec<_> = rows
            .iter()
            .take(limit)
            .map(entry)
            .collect::<Result<_, _>>()?;
        let next = entries.last().map_or(since, |entry| entry.version);
        Ok(LibraryFeed {
            entries,
            next,
            more: rows.len() > limit,
            wanted: 0,
        })
    }
}

/// Reads the columns path, version, fingerprint, size, `mtime_ns`.
fn entry(row: &AnyRow) -> Result<LibraryEntry, IndexError> {
    let path =
        LibraryPath::new(row::text(row, 0)?).map_err(|_| IndexError::Corrupt("library path"))?;
    let fingerprint: Option<&[u8]> = row
        .try_get(2)
        .map_err(IndexError::statement("read a photo of a library"))?;
    let photo = match fingerprint {
        None => None,
        Some(_) => Some(LibraryPhoto {
            fingerprint: row::fingerprint(row, 2)?,
            size: row::count(row, 3)?,
            mtime_ns: row::integer(row, 4)?,
        }),
    };
    Ok(LibraryEntry {
        version: row::count(row, 1)?,
        path,
        photo,
    })
}
