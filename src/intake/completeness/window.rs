//! A file's bytes by position, through a buffer that holds a window of them at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes buffered at a time: some checks read a few bytes of each part, others read everything.
const WINDOW_BYTES: usize = 64 << 10;

/// Source of bytes that is read by position.
pub(in crate::intake) trait ReadAt {
    /// Reads some bytes at an offset; 0 past the end.
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.read_at(buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// A buffered window over the bytes of a file.
pub(in crate::intake) struct Window<'source> {
    source: &'source dyn ReadAt,
    size: u64,
    buffer_at: u64,
    buffer: Vec<u8>,
}

impl<'source> Window<'source> {
    /// A window over the first `size` bytes of `source`.
    pub(super) fn new(source: &'source dyn ReadAt, size: u64) -> Self {
        Self {
            source,
            size,
            buffer_at: 0,
            buffer: Vec::new(),
        }
    }

    /// Size of the file in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The byte at an offset; `None` past the end.
    pub(super) fn byte(&mut self, at: u64) -> io::Result<Option<u8>> {
        Ok(self.from(at)?.first().copied())
    }

    /// `N` bytes at an offset; `None` if the file ends before.
    pub(super) fn bytes<const N: usize>(&mut self, at: u64) -> io::Result<Option<[u8; N]>> {
        if let Some(bytes) = self.from(at)?.first_chunk() {
            return Ok(Some(*bytes));
        }
        let mut bytes = [0; N];
        for (distance, byte) in (0..).zip(bytes.iter_mut()) {
            match self.byte(at.saturating_add(distance))? {
                Some(found) => *byte = found,
                None => return Ok(None),
            }
        }
        Ok(Some(bytes))
    }

    /// Whether the file has these bytes at an offset.
    pub(super) fn has_bytes(&mut self, at: u64, expected: &[u8]) -> io::Result<bool> {
        for (distance, expected) in (0..).zip(expected) {
            if self.byte(at + distance)? != Some(*expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Offset of the next such byte at or behind `from`.
    pub(super) fn find(&mut self, byte: u8, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        loop {
            let window = self.from(at)?;
            if window.is_empty() {
                return Ok(None);
            }
            match window.iter().position(|found| *found == byte) {
                Some(distance) => return Ok(Some(at + distance as u64)),
                None => at += window.len() as u64,
            }
        }
    }

    /// The buffered bytes from an offset on; empty only past the end.
    fn from(&mut self, at: u64) -> io::Result<&[u8]> {
        let buffered_until = self.buffer_at + self.buffer.len() as u64;
        if at < self.buffer_at || at >= buffered_until {
            let wanted = self.size.saturating_sub(at).min(WINDOW_BYTES as u64);
            self.buffer.resize(
                usize::try_from(wanted).expect("no larger than the window"),
                0,
            );
            let read = if wanted == 0 {
                0
            } else {
                self.source.read_some(&mut self.buffer, at)?
            };
            self.buffer.truncate(read);
            self.buffer_at = at;
        }
        Ok(usize::try_from(at - self.buffer_at)
            .ok()
            .and_then(|from| self.buffer.get(from..))
            .unwrap_or_default())
    }
}

#[cfg(any(test, fuzzing))]
impl ReadAt for &[u8] {
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let from = usize::try_from(at)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        // Never everything that is asked for, as disks may.
        let length = buffer.len().min(from.len()).min(1000);
        buffer[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }
}
