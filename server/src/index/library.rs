//! Libraries (M11): which photo stands at which path, for each user, and what changed since.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{
    LibraryChange, LibraryEntry, LibraryFeed, LibraryOutcome, LibraryPhoto,
};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{Fingerprint, LibraryPath};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::error::IndexError;
use super::writer::Write;
use super::{Index, now_ms, row};
use ledger::{Leave, Ledger, Place, Trashed};

mod ledger;

impl Index {
    /// Carries out changes in order, each for itself, with the user's own change count as version.
    /// All in one transaction.
    pub async fn change_library(
        &self,
        user: UserId,
        changes: Vec<LibraryChange>,
    ) -> Result<Vec<LibraryOutcome>, IndexError> {
        let outcomes = self
            .writer
            .write(ChangeLibrary {
                user,
                leave: Leave::Anything,
                changes,
            })
            .await;
        heirloom_crash::reached(CrashPoint::LibraryRecorded);
        outcomes
    }

    /// The same for somebody who may only add: what would replace, move or remove a photo is
    /// refused.
    pub async fn add_to_library(
        &self,
        user: UserId,
        changes: Vec<LibraryChange>,
    ) -> Result<Vec<LibraryOutcome>, IndexError> {
        self.writer
            .write(ChangeLibrary {
                user,
                leave: Leave::Add,
                changes,
            })
            .await
    }

    /// The change feed behind `since`, at most `limit` entries.
    pub async fn library_changes(
        &self,
        user: UserId,
        since: u64,
        limit: usize,
    ) -> Result<LibraryFeed, IndexError> {
        // One more than asked for tells whether there is more.
        let rows = sqlx::query(
            "SELECT path, version, fingerprint, size, mtime_ns FROM library
             WHERE user_id = $1 AND version > $2 ORDER BY version LIMIT $3",
        )
        .bind(user.0)
        .bind(row::number(since))
        .bind(row::number(limit as u64).saturating_add(1))
        .fetch_all(self.database.reads())
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

struct ChangeLibrary {
    user: UserId,
    leave: Leave,
    changes: Vec<LibraryChange>,
}

#[async_trait]
impl Write for ChangeLibrary {
    type Answer = Vec<LibraryOutcome>;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<Vec<LibraryOutcome>, IndexError> {
        let mut ledger = self.open(rows).await?;
        let opened_at = ledger.version;
        let outcomes = self
            .changes
            .iter()
            .map(|change| ledger.carry_out(change))
            .collect();
        if ledger.version != opened_at {
            self.keep(rows, &ledger).await?;
        }
        Ok(outcomes)
    }
}

impl ChangeLibrary {
    async fn open(&self, rows: &mut AnyConnection) -> Result<Ledger, IndexError> {
        let version = self.version(rows).await?;
        let (mut paths, mut fingerprints) = (BTreeSet::new(), BTreeSet::new());
        for change in &self.changes {
            match change {
                LibraryChange::Put {
                    path, fingerprint, ..
                } => {
                    paths.insert(path);
                    fingerprints.insert(*fingerprint);
                }
                LibraryChange::Move { from, to, .. } => paths.extend([from, to]),
                LibraryChange::Remove { path, .. } => {
                    paths.insert(path);
                }
            }
        }
        let places = self.places(rows, &Vec::from_iter(paths)).await?;
        let held = self.held(rows, &Vec::from_iter(fingerprints)).await?;
        Ok(Ledger {
            version,
            leave: self.leave,
            places,
            held,
            ..Ledger::default()
        })
    }

    /// The user's count of changes. The update that changes nothing locks the row, so that two
    /// servers do not count the same.
    async fn version(&self, rows: &mut AnyConnection) -> Result<u64, IndexError> {
        let user =
            sqlx::query("UPDATE users SET library_version = library_version WHERE id = $1 RETURNING library_version")
                .bind(self.user.0)
                .fetch_optional(rows)
                .await
                .map_err(IndexError::statement("read a user's count of changes"))?;
        row::count(&user.ok_or(IndexError::NoSuchUser(self.user))?, 0)
    }

    async fn places(
        &self,
        rows: &mut AnyConnection,
        paths: &[&LibraryPath],
    ) -> Result<HashMap<LibraryPath, Place>, IndexError> {
        if paths.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::among(
            "SELECT path, version, fingerprint, size, mtime_ns FROM library WHERE user_id = ? AND path IN",
            self.user.0,
            paths,
            |query, path| query.bind(path.as_str().to_owned()),
        );
        let rows = query
            .fetch_all(rows)
            .await
            .map_err(IndexError::statement("read a library"))?;
        let places = rows.iter().map(entry);
        places
            .map(|entry| {
                entry.map(|it| {
                    (
                        it.path,
                        Place {
                            version: it.version,
                            photo: it.photo,
                        },
                    )
                })
            })
            .collect()
    }

    async fn held(
        &self,
        rows: &mut AnyConnection,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, u64>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::among(
            "SELECT holdings.fingerprint, images.size
             FROM holdings JOIN images ON images.fingerprint = holdings.fingerprint
             WHERE holdings.user_id = ? AND holdings.fingerprint IN",
            self.user.0,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query
            .fetch_all(rows)
            .await
            .map_err(IndexError::statement("read what a user holds"))?;
        rows.iter()
            .map(|row| Ok((row::fingerprint(row, 0)?, row::count(row, 1)?)))
            .collect()
    }

    async fn keep(&self, rows: &mut AnyConnection, ledger: &Ledger) -> Result<(), IndexError> {
        sqlx::query("UPDATE users SET library_version = $2 WHERE id = $1")
            .bind(self.user.0)
            .bind(row::number(ledger.version))
            .execute(&mut *rows)
            .await
            .map_err(IndexError::statement("count a user's changes"))?;
        let changed: Vec<_> = ledger
            .changed
            .iter()
            .map(|path| (path, ledger.places[path]))
            .collect();
        for group in row::groups(&changed) {
            self.keep_places(rows, group).await?;
        }
        let removed_at_ms = now_ms();
        for trashed in &ledger.trash {
            self.keep_trashed(rows, trashed, removed_at_ms).await?;
        }
        Ok(())
    }

    async fn keep_places(
        &self,
        rows: &mut AnyConnection,
        places: &[(&LibraryPath, Place)],
    ) -> Result<(), IndexError> {
        let values = row::values(places.len(), |row| {
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
            "INSERT INTO library (user_id, path, version, fingerprint, size, mtime_ns) VALUES {values}
             ON CONFLICT (user_id, path) DO UPDATE SET version = excluded.version, fingerprint = excluded.fingerprint,
             size = excluded.size, mtime_ns = excluded.mtime_ns"
        );
        let bound = places.iter().fold(
            row::query(statement).bind(self.user.0),
            |query, (path, place)| {
                query
                    .bind(path.as_str())
                    .bind(row::number(place.version))
                    .bind(
                        place
                            .photo
                            .map(|photo| photo.fingerprint.as_bytes().to_vec()),
                    )
                    .bind(place.photo.map(|photo| row::number(photo.size)))
                    .bind(place.photo.map(|photo| photo.mtime_ns))
            },
        );
        bound
            .execute(rows)
            .await
            .map(drop)
            .map_err(IndexError::statement("change a library"))
    }

    async fn keep_trashed(
        &self,
        rows: &mut AnyConnection,
        trashed: &Trashed,
        removed_at_ms: i64,
    ) -> Result<(), IndexError> {
        let done = sqlx::query(
            "INSERT INTO trash (user_id, path, version, fingerprint, size, mtime_ns, removed_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, path, version) DO NOTHING",
        )
        .bind(self.user.0)
        .bind(trashed.path.as_str())
        .bind(row::number(trashed.version))
        .bind(trashed.photo.fingerprint.as_bytes().as_slice())
        .bind(row::number(trashed.photo.size))
        .bind(trashed.photo.mtime_ns)
        .bind(removed_at_ms)
        .execute(rows)
        .await;
        done.map(drop)
            .map_err(IndexError::statement("move a photo to the trash"))
    }
}
