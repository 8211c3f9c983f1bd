//! Images, and who holds them.
//!
//! An image is stored once and held by everybody who brought it or proved to have it. Its row says whether its bytes
//! are good; a user's holding says since when it is theirs.

use std::collections::HashMap;

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::Receipt;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::quota;
use super::uploads::forget;
use super::writer::Write;
use super::{Index, now_ms, row};

impl Index {
    /// The receipts of those of `fingerprints` that this user holds and that are not quarantined. One statement.
    pub async fn receipts(
        &self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, Receipt>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::among(
            "SELECT holdings.fingerprint, images.size, holdings.stored_at_ms
             FROM holdings JOIN images ON images.fingerprint = holdings.fingerprint AND images.state = 0
             WHERE holdings.user_id = $1 AND holdings.fingerprint IN",
            user.0,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query.fetch_all(self.database.reads()).await.map_err(IndexError::statement("look for receipts"))?;
        rows.iter().map(|row| receipt(row).map(|receipt| (receipt.fingerprint, receipt))).collect()
    }

    /// The length of an image that anybody holds and that is not quarantined.
    pub async fn image_size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, IndexError> {
        let mut reads = self.database.reads().acquire().await.map_err(IndexError::statement("look for an image"))?;
        size(&mut reads, fingerprint).await
    }

    /// Records a stored, verified image as held by this user; forgets the interrupted upload; lifts a quarantine. The
    /// receipt of the first time is the receipt of every time. `OverQuota` if the user may not hold so much more.
    pub async fn hold(&self, user: UserId, fingerprint: Fingerprint, size: u64) -> Result<Receipt, IndexError> {
        self.writer.write(Hold { user, fingerprint, size }).await
    }

    /// Like [`Self::hold`], for an image that somebody else brought: none if it is not (or no longer) there
    /// unquarantined. `OverQuota` as there.
    pub async fn link(&self, user: UserId, fingerprint: Fingerprint) -> Result<Option<Receipt>, IndexError> {
        self.writer.write(Link { user, fingerprint }).await
    }

    /// The stored bytes were found damaged: nobody is told that they have it until somebody brings it again.
    pub async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), IndexError> {
        self.writer.write(Quarantine { fingerprint }).await
    }
}

fn receipt(row: &AnyRow) -> Result<Receipt, IndexError> {
    Ok(Receipt {
        fingerprint: row::fingerprint(row, 0)?,
        size: row::count(row, 1)?,
        stored_at_ms: row::integer(row, 2)?,
    })
}

async fn size(rows: &mut AnyConnection, fingerprint: Fingerprint) -> Result<Option<u64>, IndexError> {
    let found = sqlx::query("SELECT size FROM images WHERE fingerprint = $1 AND state = 0")
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_optional(rows)
        .await;
    let row = found.map_err(IndexError::statement("look for an image"))?;
    row.map(|row| row::count(&row, 0)).transpose()
}

/// A user's holding of an image, if they have it.
async fn holding(rows: &mut AnyConnection, user: UserId, fingerprint: Fingerprint) -> Result<Option<i64>, IndexError> {
    let found = sqlx::query("SELECT stored_at_ms FROM holdings WHERE user_id = $1 AND fingerprint = $2")
        .bind(user.0)
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_optional(rows)
        .await;
    let row = found.map_err(IndexError::statement("read who holds an image"))?;
    row.map(|row| row::integer(&row, 0)).transpose()
}

/// Since when the user holds the image, from now on if they did not. `OverQuota` leaves everything as it was.
async fn hand_over(
    rows: &mut AnyConnection,
    user: UserId,
    fingerprint: Fingerprint,
    size: u64,
) -> Result<i64, IndexError> {
    if !quota::count_in(rows, user, fingerprint, size).await? {
        return match holding(rows, user, fingerprint).await? {
            Some(since_ms) => Ok(since_ms),
            None => Err(quota::refusal(rows, user, size).await?),
        };
    }
    // Another server may add the same one at this moment: then this fails, and its second try finds it.
    let since_ms = now_ms();
    let added = sqlx::query("INSERT INTO holdings (user_id, fingerprint, stored_at_ms) VALUES ($1, $2, $3)")
        .bind(user.0)
        .bind(fingerprint.as_bytes().as_slice())
        .bind(since_ms)
        .execute(rows)
        .await;
    added.map_err(IndexError::statement("record who holds an image"))?;
    Ok(since_ms)
}

struct Hold {
    user: UserId,
    fingerprint: Fingerprint,
    size: u64,
}

#[async_trait]
impl Write for Hold {
    type Answer = Receipt;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<Receipt, IndexError> {
        let Self { user, fingerprint, size } = *self;
        let stored_at_ms = hand_over(rows, user, fingerprint, size).await?;
        sqlx::query(
            "INSERT INTO images (fingerprint, size, state) VALUES ($1, $2, 0)
             ON CONFLICT (fingerprint) DO UPDATE SET state = 0, size = excluded.size WHERE images.state <> 0",
        )
        .bind(fingerprint.as_bytes().as_slice())
        .bind(row::number(size))
        .execute(&mut *rows)
        .await
        .map_err(IndexError::statement("record an image"))?;
        forget(rows, user, fingerprint).await?;
        Ok(Receipt { fingerprint, size, stored_at_ms })
    }
}

struct Link {
    user: UserId,
    fingerprint: Fingerprint,
}

#[async_trait]
impl Write for Link {
    type Answer = Option<Receipt>;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<Option<Receipt>, IndexError> {
        let Self { user, fingerprint } = *self;
        let Some(size) = size(rows, fingerprint).await? else { return Ok(None) };
        let stored_at_ms = hand_over(rows, user, fingerprint, size).await?;
        forget(rows, user, fingerprint).await?;
        Ok(Some(Receipt { fingerprint, size, stored_at_ms }))
    }
}

struct Quarantine {
    fingerprint: Fingerprint,
}

#[async_trait]
impl Write for Quarantine {
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let done = sqlx::query("UPDATE images SET state = 1 WHERE fingerprint = $1")
            .bind(self.fingerprint.as_bytes().as_slice())
            .execute(rows)
            .await;
        done.map(drop).map_err(IndexError::statement("quarantine an image"))
    }
}
