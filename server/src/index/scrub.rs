//! The position of the scrub, and the images it reads next.

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::open::Index;
use super::row;
use super::writer::Write;

/// The version of the stored cursor.
const VERSION: u8 = 1;

/// The position of a scrub round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubCursor {
    /// When the round began, in milliseconds since the epoch.
    pub began_ms: i64,
    /// The position in the round.
    pub position: ScrubPosition,
}

/// The position in a scrub round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubPosition {
    /// All images up to this one were read, in the order of fingerprints; `None` at the start.
    After(Option<Fingerprint>),
    /// All images were read.
    Done,
}

impl Index {
    /// Images not known to be corrupt, in ascending order after the fingerprint `after`, with their
    /// lengths in bytes.
    pub async fn stored_images(
        &self,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<(Fingerprint, u64)>, IndexError> {
        let rows = sqlx::query(
            "SELECT fingerprint, size FROM images WHERE state = 0 AND fingerprint > $1
             ORDER BY fingerprint LIMIT $2",
        )
        .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
        .bind(row::to_column(limit as u64))
        .fetch_all(self.database.read_pool())
        .await
        .map_err(IndexError::statement("list stored images"))?;
        rows.iter()
            .map(|row: &AnyRow| Ok((row::fingerprint(row, 0)?, row::count(row, 1)?)))
            .collect()
    }

    /// The position of the last round; `None` before the first.
    pub async fn scrub_cursor(&self) -> Result<Option<ScrubCursor>, IndexError> {
        let found = sqlx::query("SELECT value FROM settings WHERE name = 'scrub'")
            .fetch_optional(self.database.read_pool())
            .await
            .map_err(IndexError::statement("read the position of the scrub"))?;
        found.map(|row| decode(row::bytes(&row, 0)?)).transpose()
    }

    /// Saves the position of the scrub.
    pub async fn save_scrub_cursor(&self, cursor: ScrubCursor) -> Result<(), IndexError> {
        self.writer.write(SaveCursor { cursor }).await
    }
}

/// The version, the start time, then one byte: 0 and nothing, 1 and a fingerprint, or 2 for done.
fn encode(cursor: ScrubCursor) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(cursor.began_ms.to_le_bytes());
    match cursor.position {
        ScrubPosition::After(None) => bytes.push(0),
        ScrubPosition::After(Some(fingerprint)) => {
            bytes.push(1);
            bytes.extend(fingerprint.as_bytes());
        }
        ScrubPosition::Done => bytes.push(2),
    }
    bytes
}

fn decode(bytes: &[u8]) -> Result<ScrubCursor, IndexError> {
    const CORRUPT: IndexError = IndexError::Corrupt("position of the scrub");
    let (&version, rest) = bytes.split_first().ok_or(CORRUPT)?;
    let (began, rest) = rest.split_first_chunk().ok_or(CORRUPT)?;
    let (&position, rest) = rest.split_first().ok_or(CORRUPT)?;
    let position = match (version, position, rest) {
        (VERSION, 0, []) => ScrubPosition::After(None),
        (VERSION, 1, fingerprint) => ScrubPosition::After(Some(
            Fingerprint::try_from(fingerprint).map_err(|_| CORRUPT)?,
        )),
        (VERSION, 2, []) => ScrubPosition::Done,
        _ => return Err(CORRUPT),
    };
    Ok(ScrubCursor {
        began_ms: i64::from_le_bytes(*began),
        position,
    })
}

struct SaveCursor {
    cursor: ScrubCursor,
}

#[async_trait]
impl Write for SaveCursor {
    type Output = ();

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let done = sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('scrub', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(encode(self.cursor))
        .execute(rows)
        .await;
        done.map(drop)
            .map_err(IndexError::statement("save the position of the scrub"))
    }
}

/// Decodes arbitrary bytes as a stored cursor and checks the round trip (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(cursor) = decode(bytes) {
        assert_eq!(encode(cursor), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arbitrary_bytes_are_never_decoded_as_another_cursor() {
        heirloom_fuzz::replay("scrub_cursors", fuzz);
    }

    #[test]
    fn the_stored_form_of_a_cursor_never_changes() {
        let fingerprint = Fingerprint::from([7; 32]);
        let cursor = |position| ScrubCursor {
            began_ms: 258,
            position,
        };
        let golden: [(ScrubCursor, Vec<u8>); 3] = [
            (
                cursor(ScrubPosition::After(None)),
                vec![1, 2, 1, 0, 0, 0, 0, 0, 0, 0],
            ),
            (
                cursor(ScrubPosition::After(Some(fingerprint))),
                [vec![1, 2, 1, 0, 0, 0, 0, 0, 0, 1], vec![7; 32]].concat(),
            ),
            (
                cursor(ScrubPosition::Done),
                vec![1, 2, 1, 0, 0, 0, 0, 0, 0, 2],
            ),
        ];
        for (cursor, bytes) in golden {
            assert_eq!(encode(cursor), bytes);
            assert_eq!(decode(&bytes).unwrap(), cursor);
        }
        for wrong in [
            vec![],
            vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7],
        ] {
            assert!(
                matches!(decode(&wrong), Err(IndexError::Corrupt(_))),
                "{wrong:?}"
            );
        }
    }
}
