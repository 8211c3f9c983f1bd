//! *Content*: a file's bytes, looked at here and there by position, a window of them held at a
//! time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes held at a time: a walk over parts reads a few bytes of each, a scan reads all.
const WINDOW_BYTES: usize = 64 << 10;

/// Where the bytes come from.
pub(in crate::intake) trait Source {
    /// Reads some bytes at a position; none if there are none.
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Source for File {
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.read_at(buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// The window.
pub(in crate::intake) struct Content<'source> {
    source: &'source dyn Source,
    size: u64,
    held_at: u64,
    held: Vec<u8>,
}

impl<'source> Content<'source> {
    /// `size` bytes of this source; what it has beyond them is not looked at.
    pub(super) fn new(source: &'source dyn Source, size: u64) -> Self {
        Self {
            source,
            size,
            held_at: 0,
            held: Vec::new(),
        }
    }

    /// How many bytes there are.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The byte at a position; nothing behind the end.
    pub(super) fn byte(&mut self, at: u64) -> io::Result<Option<u8>> {
        Ok(self.from(at)?.first().copied())
    }

    /// So many bytes at a position; nothing if they are not all there.
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

    /// Whether these bytes stand at a position.
    pub(super) fn begins(&mut self, at: u64, expected: &[u8]) -> io::Result<bool> {
        for (distance, expected) in (0..).zip(expected) {
            if self.byte(at + distance)? != Some(*expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where the next such byte stands, at or behind a position.
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

    /// What is held from a position on; empty only behind the end.
    fn from(&mut self, at: u64) -> io::Result<&[u8]> {
        let held_until = self.held_at + self.held.len() as u64;
        if at < self.held_at || at >= held_until {
            let wanted = self.size.saturating_sub(at).min(WINDOW_BYTES as u64);
            self.held.resize(
                usize::try_from(wanted).expect("no larger than the window"),
                0,
            );
            let read = if wanted == 0 {
                0
            } else {
                self.source.read_some(&mut self.held, at)?
            };
            self.held.truncate(read);
            self.held_at = at;
        }
        Ok(usize::try_from(at - self.held_at)
            .ok()
            .and_then(|from| self.held.get(from..))
            .unwrap_or_default())
    }
}
