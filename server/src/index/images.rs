//! Images, and who holds them.
//!
//! An image is stored once and held by every user who uploaded it or proved possession of it. Its
//! row says whether its bytes are intact; a user's holding says since when they hold it.

use std::collections::HashMap;

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::Receipt;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::open::Index;
use super::quota;
use super::row;
use super::uploads;
use super::writer::Write;
use crate::clock::system_now_ms;

/// The result of quarantining an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineOutcome {
    /// The image is marked as corrupt.
    Marked,
    /// The index does not know the image: it was garbage collected meanwhile.
    Gone,
}

impl Index {
    /// The receipts of those of `fingerprints` that this user holds and that are not corrupt. One
    /// statement.
    pub async fn receipts(
        &self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, Receipt>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::in_list(
            "SELECT holdings.fingerprint, images.size, holdings.stored_at_ms
             FROM holdings JOIN images ON images.fingerprint = holdings.fingerprint
             AND images.state = 0
             WHERE holdings.user_id = ? AND holdings.fingerprint IN",
            user.0,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query
            .fetch_all(self.database.read_pool())
            .await
            .map_err(IndexError::statement("look up receipts"))?;
        rows.iter()
            .map(|row| receipt(row).map(|receipt| (receipt.fingerprint, receipt)))
            .collect()
    }

    /// The lengths of those of `fingerprints` that are stored and not corrupt, whoever holds them.
    pub async fn image_sizes(
        &self,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, u64>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let intact = 0;
        let query = row::in_list(
            "SELECT fingerprint, size FROM images WHERE state = ? AND fingerprint IN",
            intact,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query
            .fetch_all(self.database.read_pool())
            .await
            .map_err(IndexError::statement("look up images"))?;
        rows.iter()
            .map(|row| Ok((row::fingerprint(row, 0)?, row::count(row, 1)?)))
            .collect()
    }

    /// Records a stored, verified image as held by this user; deletes the interrupted upload; ends
    /// a quarantine. Repeated calls return the receipt of the first one. `OverQuota` if the image
    /// exceeds the user's quota.
    pub async fn add_holding(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
        size: u64,
    ) -> Result<Receipt, IndexError> {
        let receipts = self.add_holdings(user, vec![(fingerprint, size)]).await?;
        receipts
            .into_iter()
            .next()
            .ok_or(IndexError::Corrupt("holding"))
    }

    /// Like [`Self::add_holding`] for several different images in one transaction: a receipt for
    /// each, in order. `OverQuota` if not all of them fit.
    pub async fn add_holdings(
        &self,
        user: UserId,
        images: Vec<(Fingerprint, u64)>,
    ) -> Result<Vec<Receipt>, IndexError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.write(AddHoldings { user, images }).await
    }

    /// Like [`Self::add_holding`], for an image that another user uploaded; `None` if it is not (or
    /// no longer) stored intact.
    pub async fn link(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
    ) -> Result<Option<Receipt>, IndexError> {
        self.writer.write(Link { user, fingerprint }).await
    }

    /// Marks an image as corrupt: nobody gets a receipt for it until somebody uploads it again.
    pub async fn quarantine(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<QuarantineOutcome, IndexError> {
        self.writer.write(Quarantine { fingerprint }).await
    }
}

fn receipt(row: &AnyRow) -> Result<Receipt, IndexError> {
    Ok(Receipt {
        fingerprint: row::fingerprint(row, 0)?,
        size: row::count(row, 1)?,
        stored_at_ms: row::integer(row, 2)?,
        signature: None,
    })
}

/// The length of an intact image, whose row is locked until this transaction ends: the update
/// changes nothing, and keeps the row from being garbage collected (see `unreferenced.rs`).
async fn lock_image(
    rows: &mut AnyConnection,
    fingerprint: Fingerprint,
) -> Result<Option<u64>, IndexError> {
    let found = sqlx::query(
        "UPDATE images SET state = 0 WHERE fingerprint = $1 AND state = 0 RETURNING size",
    )
    .bind(fingerprint.as_bytes().as_slice())
    .fetch_optional(rows)
    .await;
    let row = found.map_err(IndexError::statement("look up an image"))?;
    row.map(|row| row::count(&row, 0)).transpose()
}

/// Inserts the missing holdings, and returns since when the user holds each image. `OverQuota`
/// changes nothing.
async fn insert_holdings(
    rows: &mut AnyConnection,
    user: UserId,
    images: &[(Fingerprint, u64)],
) -> Result<HashMap<Fingerprint, i64>, IndexError> {
    let mut since = held_since(rows, user, images).await?;
    let new: Vec<_> = images
        .iter()
        .filter(|(fingerprint, _)| !since.contains_key(fingerprint))
        .copied()
        .collect();
    if new.is_empty() {
        return Ok(since);
    }
    quota::add_held_bytes(rows, user, new.iter().map(|(_, size)| size).sum()).await?;
    let now = system_now_ms();
    for chunk in row::power_of_two_chunks(&new) {
        let values = row::value_list(chunk.len(), |row| format!("($1, ${}, $2)", row + 3));
        // Another server may insert the same holding at this moment: then this fails, and the
        // retry finds it.
        let statement =
            format!("INSERT INTO holdings (user_id, fingerprint, stored_at_ms) VALUES {values}");
        let query = row::query(statement).bind(user.0).bind(now);
        let query = chunk.iter().fold(query, |query, (fingerprint, _)| {
            row::bind_fingerprint(query, fingerprint)
        });
        query
            .execute(&mut *rows)
            .await
            .map_err(IndexError::statement("record who holds an image"))?;
    }
    since.extend(new.iter().map(|(fingerprint, _)| (*fingerprint, now)));
    Ok(since)
}

/// Since when the user holds those of `images` that they hold.
async fn held_since(
    rows: &mut AnyConnection,
    user: UserId,
    images: &[(Fingerprint, u64)],
) -> Result<HashMap<Fingerprint, i64>, IndexError> {
    let head =
        "SELECT fingerprint, stored_at_ms FROM holdings WHERE user_id = ? AND fingerprint IN";
    let query = row::in_list(head, user.0, images, |query, (fingerprint, _)| {
        row::bind_fingerprint(query, fingerprint)
    });
    let found = query
        .fetch_all(rows)
        .await
        .map_err(IndexError::statement("read who holds an image"))?;
    found
        .iter()
        .map(|row| Ok((row::fingerprint(row, 0)?, row::integer(row, 1)?)))
        .collect()
}

struct AddHoldings {
    user: UserId,
    /// Different images with their lengths in bytes.
    images: Vec<(Fingerprint, u64)>,
}

#[async_trait]
impl Write for AddHoldings {
    type Output = Vec<Receipt>;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<Vec<Receipt>, IndexError> {
        let since = insert_holdings(rows, self.user, &self.images).await?;
        for chunk in row::power_of_two_chunks(&self.images) {
            let values = row::value_list(chunk.len(), |row| {
                format!("(${}, ${}, 0)", 2 * row + 1, 2 * row + 2)
            });
            let statement = format!(
                "INSERT INTO images (fingerprint, size, state) VALUES {values}
                 ON CONFLICT (fingerprint) DO UPDATE SET state = 0, size = excluded.size
                 WHERE images.state <> 0"
            );
            let query = chunk
                .iter()
                .fold(row::query(statement), |query, (fingerprint, size)| {
                    row::bind_fingerprint(query, fingerprint).bind(row::to_column(*size))
                });
            query
                .execute(&mut *rows)
                .await
                .map_err(IndexError::statement("record an image"))?;
        }
        let fingerprints: Vec<Fingerprint> = self
            .images
            .iter()
            .map(|(fingerprint, _)| *fingerprint)
            .collect();
        uploads::delete(rows, self.user, &fingerprints).await?;
        let receipt = |&(fingerprint, size): &_| Receipt {
            fingerprint,
            size,
            stored_at_ms: since[&fingerprint],
            signature: None,
        };
        Ok(self.images.iter().map(receipt).collect())
    }
}

struct Link {
    user: UserId,
    fingerprint: Fingerprint,
}

#[async_trait]
impl Write for Link {
    type Output = Option<Receipt>;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<Option<Receipt>, IndexError> {
        let Self { user, fingerprint } = *self;
        let Some(size) = lock_image(rows, fingerprint).await? else {
            return Ok(None);
        };
        let since = insert_holdings(rows, user, &[(fingerprint, size)]).await?;
        uploads::delete(rows, user, &[fingerprint]).await?;
        Ok(Some(Receipt {
            fingerprint,
            size,
            stored_at_ms: since[&fingerprint],
            signature: None,
        }))
    }
}

struct Quarantine {
    fingerprint: Fingerprint,
}

#[async_trait]
impl Write for Quarantine {
    type Output = QuarantineOutcome;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<QuarantineOutcome, IndexError> {
        let done = sqlx::query("UPDATE images SET state = 1 WHERE fingerprint = $1")
            .bind(self.fingerprint.as_bytes().as_slice())
            .execute(rows)
            .await
            .map_err(IndexError::statement("quarantine an image"))?;
        Ok(if done.rows_affected() == 0 {
            QuarantineOutcome::Gone
        } else {
            QuarantineOutcome::Marked
        })
    }
}
