//! Images, and who holds them.
//!
//! An image is stored once and held by everybody who brought it or proved to have it. Its row says
//! whether its bytes are good; a user's holding says since when it is theirs.

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

/// Whether an image that was found damaged was there to be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineOutcome {
    /// It is marked.
    Marked,
    /// Nobody refers to it any more: it was cleared away while it was looked at.
    Gone,
}

impl Index {
    /// The receipts of those of `fingerprints` that this user holds and that are not quarantined.
    /// One statement.
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
             WHERE holdings.user_id = ? AND holdings.fingerprint IN",
            user.0,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query
            .fetch_all(self.database.reads())
            .await
            .map_err(IndexError::statement("look for receipts"))?;
        rows.iter()
            .map(|row| receipt(row).map(|receipt| (receipt.fingerprint, receipt)))
            .collect()
    }

    /// The lengths of those of these images that anybody holds and that are not quarantined.
    pub async fn image_sizes(
        &self,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, u64>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let sound = 0;
        let query = row::among(
            "SELECT fingerprint, size FROM images WHERE state = ? AND fingerprint IN",
            sound,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query
            .fetch_all(self.database.reads())
            .await
            .map_err(IndexError::statement("look for images"))?;
        rows.iter()
            .map(|row| Ok((row::fingerprint(row, 0)?, row::count(row, 1)?)))
            .collect()
    }

    /// Records a stored, verified image as held by this user; forgets the interrupted upload; lifts
    /// a quarantine. The receipt of the first time is the receipt of every time. `OverQuota` if the
    /// user may not hold so much more.
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

    /// The same for several images, none of them twice, in one transaction: a receipt for each, in
    /// order. `OverQuota` if not all of them fit.
    pub async fn add_holdings(
        &self,
        user: UserId,
        images: Vec<(Fingerprint, u64)>,
    ) -> Result<Vec<Receipt>, IndexError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.write(Hold { user, images }).await
    }

    /// Like [`Self::hold`], for an image that somebody else brought: none if it is not (or no
    /// longer) there unquarantined. `OverQuota` as there.
    pub async fn link(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
    ) -> Result<Option<Receipt>, IndexError> {
        self.writer.write(Link { user, fingerprint }).await
    }

    /// The stored bytes were found damaged: nobody is told that they have it until somebody brings
    /// it again.
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

/// The length of a sound image, which stays until this transaction ends: the update that changes
/// nothing locks the row against whoever clears it away ([`super::released`]).
async fn size_kept(
    rows: &mut AnyConnection,
    fingerprint: Fingerprint,
) -> Result<Option<u64>, IndexError> {
    let found = sqlx::query(
        "UPDATE images SET state = 0 WHERE fingerprint = $1 AND state = 0 RETURNING size",
    )
    .bind(fingerprint.as_bytes().as_slice())
    .fetch_optional(rows)
    .await;
    let row = found.map_err(IndexError::statement("look for an image"))?;
    row.map(|row| row::count(&row, 0)).transpose()
}

/// Since when the user holds each image, from now on if they did not. `OverQuota` leaves everything
/// as it was.
async fn hand_over(
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
    quota::count_in(rows, user, new.iter().map(|(_, size)| size).sum()).await?;
    let now = now_ms();
    for group in row::groups(&new) {
        let values = row::values(group.len(), |row| format!("($1, ${}, $2)", row + 3));
        // Another server may add the same one at this moment: then this fails, and its second try
        // finds it.
        let statement =
            format!("INSERT INTO holdings (user_id, fingerprint, stored_at_ms) VALUES {values}");
        let query = row::query(statement).bind(user.0).bind(now);
        let query = group.iter().fold(query, |query, (fingerprint, _)| {
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

/// Since when a user holds those of `images` that they do.
async fn held_since(
    rows: &mut AnyConnection,
    user: UserId,
    images: &[(Fingerprint, u64)],
) -> Result<HashMap<Fingerprint, i64>, IndexError> {
    let head =
        "SELECT fingerprint, stored_at_ms FROM holdings WHERE user_id = ? AND fingerprint IN";
    let query = row::among(head, user.0, images, |query, (fingerprint, _)| {
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

struct Hold {
    user: UserId,
    /// With their lengths in bytes; none twice.
    images: Vec<(Fingerprint, u64)>,
}

#[async_trait]
impl Write for Hold {
    type Answer = Vec<Receipt>;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<Vec<Receipt>, IndexError> {
        let since = hand_over(rows, self.user, &self.images).await?;
        for group in row::groups(&self.images) {
            let values = row::values(group.len(), |row| {
                format!("(${}, ${}, 0)", 2 * row + 1, 2 * row + 2)
            });
            let statement = format!(
                "INSERT INTO images (fingerprint, size, state) VALUES {values}
                 ON CONFLICT (fingerprint) DO UPDATE SET state = 0, size = excluded.size WHERE images.state <> 0"
            );
            let query = group
                .iter()
                .fold(row::query(statement), |query, (fingerprint, size)| {
                    row::bind_fingerprint(query, fingerprint).bind(row::number(*size))
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
        forget(rows, self.user, &fingerprints).await?;
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
    type Answer = Option<Receipt>;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<Option<Receipt>, IndexError> {
        let Self { user, fingerprint } = *self;
        let Some(size) = size_kept(rows, fingerprint).await? else {
            return Ok(None);
        };
        let since = hand_over(rows, user, &[(fingerprint, size)]).await?;
        forget(rows, user, &[fingerprint]).await?;
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
    type Answer = QuarantineOutcome;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<QuarantineOutcome, IndexError> {
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
