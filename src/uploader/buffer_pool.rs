//! The buffer pool: the memory that shards are read into and sent from. A buffer that was sent is
//! filled again: memory fresh from the kernel costs more than the reading that fills it, one page
//! fault for every page. After an idle time all buffers are freed.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::limits::BUFFER_BYTES;
use crate::remote::Payload;

/// Idle buffers. Cheap to clone; clones share them. How many are in use is for the in-flight budget
/// to limit.
#[derive(Clone, Debug, Default)]
pub(super) struct BufferPool(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer in use; returns to the pool when dropped.
#[derive(Debug)]
struct PooledBuf {
    bytes: Box<[u8]>,
    pool: BufferPool,
}

/// Writes bytes into pooled buffers, one after the other.
#[derive(Debug)]
pub(super) struct PayloadWriter {
    pool: BufferPool,
    full: Payload,
    /// The last buffer, and how many of its bytes are filled.
    last: Option<(PooledBuf, usize)>,
}

impl BufferPool {
    /// Starts a payload.
    pub(super) fn writer(&self) -> PayloadWriter {
        PayloadWriter {
            pool: self.clone(),
            full: Payload::default(),
            last: None,
        }
    }

    fn take(&self) -> PooledBuf {
        let idle = self.0.lock().pop();
        PooledBuf {
            bytes: idle.unwrap_or_else(|| vec![0; BUFFER_BYTES].into()),
            pool: self.clone(),
        }
    }

    /// Whether no buffer is idle.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Frees the idle buffers.
    pub(super) fn free_idle(&self) {
        *self.0.lock() = Vec::new();
    }
}

impl PayloadWriter {
    /// Appends `length` bytes. `read` is called for each part of a buffer, with the part to fill
    /// and the number of bytes that came before it. After an error the writer is of no more use.
    pub(super) fn append<Error>(
        &mut self,
        length: u64,
        mut read: impl FnMut(&mut [u8], u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut done = 0;
        while done < length {
            let (mut buffer, filled) = self.last.take().unwrap_or_else(|| (self.pool.take(), 0));
            let count = usize::try_from(length - done)
                .unwrap_or(usize::MAX)
                .min(BUFFER_BYTES - filled);
            read(&mut buffer.bytes[filled..filled + count], done)?;
            done += count as u64;
            self.keep(buffer, filled + count);
        }
        Ok(())
    }

    /// The payload. Its buffers return to the pool when it is dropped.
    pub(super) fn finish(mut self) -> Payload {
        if let Some((buffer, filled)) = self.last.take() {
            self.full.push(Bytes::from_owner(buffer).slice(..filled));
        }
        self.full
    }

    fn keep(&mut self, buffer: PooledBuf, filled: usize) {
        if filled == BUFFER_BYTES {
            self.full.push(Bytes::from_owner(buffer));
        } else {
            self.last = Some((buffer, filled));
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
        self.pool.0.lock().push(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn byte_at(offset: u64) -> u8 {
        (offset % 251).to_le_bytes()[0]
    }

    /// A payload whose bytes follow from their offsets, written in parts of these lengths.
    fn payload(pool: &BufferPool, parts: &[u64]) -> Payload {
        let (mut writer, mut before) = (pool.writer(), 0);
        for part in parts {
            let appended = writer.append(*part, |place, done| {
                for (byte, offset) in place.iter_mut().zip(before + done..) {
                    *byte = byte_at(offset);
                }
                Ok::<_, Infallible>(())
            });
            appended.unwrap();
            before += part;
        }
        writer.finish()
    }

    #[test]
    fn a_payload_has_the_bytes_that_were_written() {
        let pool = BufferPool::default();
        for parts in [
            vec![0],
            vec![1],
            vec![BUFFER_BYTES as u64],
            vec![100, 3 * BUFFER_BYTES as u64, 7, 0, 600_000],
        ] {
            let payload = payload(&pool, &parts);
            assert_eq!(payload.len() as u64, parts.iter().sum::<u64>());
            let whole: Vec<u8> = payload.segments().flatten().copied().collect();
            assert!(
                whole
                    .iter()
                    .zip(0..)
                    .all(|(byte, offset)| *byte == byte_at(offset)),
                "{parts:?}"
            );
        }
    }

    #[test]
    fn a_returned_buffer_is_used_again() {
        let pool = BufferPool::default();
        let (first, second) = (
            payload(&pool, &[BUFFER_BYTES as u64 * 2]),
            payload(&pool, &[1]),
        );
        assert_eq!(pool.0.lock().len(), 0);
        drop(first);
        assert_eq!(pool.0.lock().len(), 2);
        let third = payload(&pool, &[BUFFER_BYTES as u64 + 1]);
        assert_eq!(pool.0.lock().len(), 0);
        drop((second, third));
        assert_eq!(pool.0.lock().len(), 3);
        pool.free_idle();
        assert!(pool.is_empty());
    }

    #[test]
    fn a_failed_read_loses_no_buffer() {
        let pool = BufferPool::default();
        let mut writer = pool.writer();
        writer
            .append(BUFFER_BYTES as u64, |_, _| Ok::<_, &str>(()))
            .unwrap();
        assert_eq!(writer.append(10, |_, _| Err("gone")), Err("gone"));
        drop(writer);
        assert_eq!(pool.0.lock().len(), 2);
    }
}
