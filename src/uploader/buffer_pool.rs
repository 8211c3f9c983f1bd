//! BufferPool: the memory that shards travel in. What comes back is filled again: memory fresh from the
//! kernel costs more than the reading that fills it, a fault for every page. Once nothing has been
//! under way for a while, all of it is given back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::remote::Payload;

/// Bytes in one tray: large enough for a map of its own (see `daemon::memory`), so that what is
/// given back is gone; small enough that a shard wastes little of its last one.
const TRAY_BYTES: usize = 256 << 10;

/// BufferPool, clean and ready. Cheap to clone; clones share everything. How many are out is for the
/// budget to limit.
#[derive(Clone, Debug, Default)]
pub(super) struct BufferPool(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A tray that somebody has; it goes back when dropped.
#[derive(Debug)]
struct PooledBuf {
    bytes: Box<[u8]>,
    home: BufferPool,
}

/// Bytes that are being put on trays, one place after the other.
#[derive(Debug)]
pub(super) struct BufWriter {
    trays: BufferPool,
    full: Payload,
    /// The last one, and how much of it is filled.
    last: Option<(PooledBuf, usize)>,
}

impl BufferPool {
    /// Begins to fill.
    pub(super) fn fill(&self) -> BufWriter {
        BufWriter {
            trays: self.clone(),
            full: Payload::default(),
            last: None,
        }
    }

    fn take(&self) -> PooledBuf {
        let clean = self.stack().pop();
        PooledBuf {
            bytes: clean.unwrap_or_else(|| vec![0; TRAY_BYTES].into()),
            home: self.clone(),
        }
    }

    /// Whether no tray waits to be filled again.
    pub(super) fn is_empty(&self) -> bool {
        self.stack().is_empty()
    }

    /// Gives back the memory of those that wait.
    pub(super) fn give_back(&self) {
        *self.stack() = Vec::new();
    }

    fn stack(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufWriter {
    /// Adds `length` bytes, which `read` puts where they belong: it gets each place, and how many
    /// of the bytes came before it. After an error this is of no use any more.
    pub(super) fn add<Error>(
        &mut self,
        length: u64,
        mut read: impl FnMut(&mut [u8], u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut done = 0;
        while done < length {
            let (mut tray, filled) = self.last.take().unwrap_or_else(|| (self.trays.take(), 0));
            let count = usize::try_from(length - done)
                .unwrap_or(usize::MAX)
                .min(TRAY_BYTES - filled);
            read(&mut tray.bytes[filled..filled + count], done)?;
            done += count as u64;
            self.keep(tray, filled + count);
        }
        Ok(())
    }

    /// What is on the trays.
    pub(super) fn finish(mut self) -> Payload {
        if let Some((tray, filled)) = self.last.take() {
            self.full.push(Bytes::from_owner(tray).slice(..filled));
        }
        self.full
    }

    fn keep(&mut self, tray: PooledBuf, filled: usize) {
        if filled == TRAY_BYTES {
            self.full.push(Bytes::from_owner(tray));
        } else {
            self.last = Some((tray, filled));
        }
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        self.home.stack().push(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn mark(at: u64) -> u8 {
        (at % 251).to_le_bytes()[0]
    }

    /// Bytes that tell where they belong, put on trays in parts of these lengths.
    fn filled(trays: &BufferPool, parts: &[u64]) -> Payload {
        let (mut filling, mut before) = (trays.fill(), 0);
        for part in parts {
            let added = filling.add(*part, |place, done| {
                for (byte, at) in place.iter_mut().zip(before + done..) {
                    *byte = mark(at);
                }
                Ok::<_, Infallible>(())
            });
            added.unwrap();
            before += part;
        }
        filling.finish()
    }

    #[test]
    fn bytes_come_off_the_trays_as_they_were_put_on() {
        let trays = BufferPool::default();
        for parts in [
            vec![0],
            vec![1],
            vec![TRAY_BYTES as u64],
            vec![100, 3 * TRAY_BYTES as u64, 7, 0, 600_000],
        ] {
            let payload = filled(&trays, &parts);
            assert_eq!(payload.len() as u64, parts.iter().sum::<u64>());
            let whole: Vec<u8> = payload.pieces().flatten().copied().collect();
            assert!(
                whole.iter().zip(0..).all(|(byte, at)| *byte == mark(at)),
                "{parts:?}"
            );
        }
    }

    #[test]
    fn a_tray_that_came_back_is_used_again() {
        let trays = BufferPool::default();
        let (first, second) = (
            filled(&trays, &[TRAY_BYTES as u64 * 2]),
            filled(&trays, &[1]),
        );
        assert_eq!(trays.stack().len(), 0);
        drop(first);
        assert_eq!(trays.stack().len(), 2);
        let third = filled(&trays, &[TRAY_BYTES as u64 + 1]);
        assert_eq!(trays.stack().len(), 0);
        drop((second, third));
        assert_eq!(trays.stack().len(), 3);
        trays.give_back();
        assert!(trays.is_empty());
    }

    #[test]
    fn a_failed_reading_loses_no_tray() {
        let trays = BufferPool::default();
        let mut filling = trays.fill();
        filling
            .add(TRAY_BYTES as u64, |_, _| Ok::<_, &str>(()))
            .unwrap();
        assert_eq!(filling.add(10, |_, _| Err("gone")), Err("gone"));
        drop(filling);
        assert_eq!(trays.stack().len(), 2);
    }
}
