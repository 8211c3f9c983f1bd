//! How far the scrub has come, and what it reads next.

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, row};

/// The version of a mark as it is stored.
const VERSION: u8 = 1;

/// A round of the scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubCursor {
    /// When it began, in milliseconds since the epoch.
    pub began_ms: i64,
    /// How far it is.
    pub step: ScrubPosition,
}

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubPosition {
    /// All up to this image were read, in the order of fingerprints.
    After(Option<Fingerprint>),
    /// All were.
    Done,
}

impl Index {
    /// Images that are not known to be damaged, by ascending fingerprint behind `after`, with their
    /// sizes in bytes.
    pub async fn stored_images(
        &self,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<(Fingerprint, u64)>, IndexError> {
        let rows = sqlx::query(
            "SELECT fingerprint, size FROM images WHERE state = 0 AND fingerprint > $1 ORDER BY fingerprint LIMIT $2",
        )
        .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
        .bind(row::number(limit as u64))
        .fetch_all(self.database.reads())
        .await
        .map_err(IndexError::statement("list stored images"))?;
        rows.iter()
            .map(|row: &AnyRow| Ok((row::fingerprint(row, 0)?, row::count(row, 1)?)))
            .collect()
    }

    /// The round that was begun last; none before the first.
    pub async fn scrub_cursor(&self) -> Result<Option<ScrubCursor>, IndexError> {
        let found = sqlx::query("SELECT value FROM settings WHERE name = 'scrub'")
            .fetch_optional(self.database.reads())
            .await
            .map_err(IndexError::statement("read how far the scrub is"))?;
        found.map(|row| decode(row::bytes(&row, 0)?)).transpose()
    }

    /// Keeps how far the scrub is.
    pub async fn save_scrub_cursor(&self, mark: ScrubCursor) -> Result<(), IndexError> {
        self.writer.write(NoteScrub { mark }).await
    }
}

/// Version, beginning, then one byte: 0 and nothing, 1 and a fingerprint, or 2 for done.
fn encode(mark: ScrubCursor) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(mark.began_ms.to_le_bytes());
    match mark.step {
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
    const DAMAGED: IndexError = IndexError::Corrupt("mark of the scrub");
    let (&version, rest) = bytes.split_first().ok_or(DAMAGED)?;
    let (began, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
    let (&step, rest) = rest.split_first().ok_or(DAMAGED)?;
    let step = match (version, step, rest) {
        (VERSION, 0, []) => ScrubPosition::After(None),
        (VERSION, 1, fingerprint) => ScrubPosition::After(Some(
            Fingerprint::try_from(fingerprint).map_err(|_| DAMAGED)?,
        )),
        (VERSION, 2, []) => ScrubPosition::Done,
        _ => return Err(DAMAGED),
    };
    Ok(ScrubCursor {
        began_ms: i64::from_le_bytes(*began),
        step,
    })
}

struct NoteScrub {
    mark: ScrubCursor,
}

#[async_trait]
impl Write for NoteScrub {
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let done = sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('scrub', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(encode(self.mark))
        .execute(rows)
        .await;
        done.map(drop)
            .map_err(IndexError::statement("note how far the scrub is"))
    }
}

/// Puts made-up bytes on trial as a stored mark (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(mark) = decode(bytes) {
        assert_eq!(encode(mark), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stored_mark_is_misread() {
        heirloom_fuzz::replay("marks", fuzz);
    }

    #[test]
    fn a_mark_keeps_its_bytes() {
        let fingerprint = Fingerprint::from([7; 32]);
        let mark = |step| ScrubCursor {
            began_ms: 258,
            step,
        };
        let golden: [(ScrubCursor, Vec<u8>); 3] = [
            (
                mark(ScrubPosition::After(None)),
                vec![1, 2, 1, 0, 0, 0, 0, 0, 0, 0],
            ),
            (
                mark(ScrubPosition::After(Some(fingerprint))),
                [vec![1, 2, 1, 0, 0, 0, 0, 0, 0, 1], vec![7; 32]].concat(),
            ),
            (
                mark(ScrubPosition::Done),
                vec![1, 2, 1, 0, 0, 0, 0, 0, 0, 2],
            ),
        ];
        for (mark, bytes) in golden {
            assert_eq!(encode(mark), bytes);
            assert_eq!(decode(&bytes).unwrap(), mark);
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
