//! TIFF 6.0, and with it most camera raws (CR2, NEF, ARW, DNG, PEF): directories list the offsets
//! of strips and tiles of pixels. If one of them, or a directory, begins past the end of the
//! file, the file is truncated.
//!
//! Where strips *end* is not checked: some writers state wrong lengths, and decoders cope with
//! that.

use std::io;

use super::verdict::Completeness;
use super::window::Window;

/// Tags whose values are offsets of pixels: strips, tiles, and an old-style JPEG.
const PIXELS: [u16; 3] = [273, 324, 513];

/// The tag with offsets of further directories: in raws one of them describes the picture itself.
const CHILDREN: u16 = 330;

/// Types of values: 16 bits, 32 bits, and 32 bits for directories.
const SHORT: u16 = 3;
const LONG: u16 = 4;
const DIRECTORY: u16 = 13;

const ENTRY_BYTES: u64 = 12;

/// Offsets checked at most, of pixels and directories together: a panorama has some thousand tiles.
/// A file with more was probably made to keep us busy, perhaps with a cycle.
const OFFSETS_MAX: u64 = 1 << 16;

/// An offset that is past the end of the file.
struct PastTheEnd;

type Lookup<T> = io::Result<Result<T, PastTheEnd>>;

struct Directories<'walk, 'source> {
    window: &'walk mut Window<'source>,
    is_little: bool,
    waiting: Vec<u64>,
    offsets_left: u64,
}

pub(super) fn check(window: &mut Window<'_>) -> io::Result<Completeness> {
    let is_little = window.has_bytes(0, b"II")?;
    let mut directories = Directories {
        window,
        is_little,
        waiting: Vec::new(),
        offsets_left: OFFSETS_MAX,
    };
    Ok(match directories.check_all()? {
        Ok(completeness) => completeness,
        Err(PastTheEnd) => Completeness::Truncated,
    })
}

/// The value of a [`Lookup`], or an early return.
macro_rules! value {
    ($lookup:expr) => {
        match $lookup? {
            Ok(value) => value,
            Err(behind) => return Ok(Err(behind)),
        }
    };
}

impl Directories<'_, '_> {
    fn check_all(&mut self) -> Lookup<Completeness> {
        let first = value!(self.long(4));
        self.waiting.push(first);
        while let Some(directory) = self.waiting.pop() {
            if directory != 0 {
                value!(self.check_directory(directory));
            }
            if self.offsets_left == 0 {
                return Ok(Ok(Completeness::Unknown));
            }
        }
        Ok(Ok(Completeness::Complete))
    }

    fn check_directory(&mut self, directory: u64) -> Lookup<()> {
        let entries = u64::from(value!(self.short(directory)));
        let behind = directory + 2 + entries * ENTRY_BYTES;
        for number in 0..entries {
            let entry = directory + 2 + number * ENTRY_BYTES;
            let tag = value!(self.short(entry));
            if tag == CHILDREN {
                let children = value!(self.offsets(entry));
                self.waiting.extend(children);
            } else if PIXELS.contains(&tag) {
                let offsets = value!(self.offsets(entry));
                if offsets.iter().any(|offset| *offset >= self.window.size()) {
                    return Ok(Err(PastTheEnd));
                }
            }
        }
        let next = value!(self.long(behind));
        self.waiting.push(next);
        self.offsets_left = self.offsets_left.saturating_sub(1);
        Ok(Ok(()))
    }

    /// The values of an entry, which are in it if they fit, or at the offset in it.
    fn offsets(&mut self, entry: u64) -> Lookup<Vec<u64>> {
        let (kind, count) = (value!(self.short(entry + 2)), value!(self.long(entry + 4)));
        let bytes = match kind {
            SHORT => 2,
            LONG | DIRECTORY => 4,
            // Not a type that TIFF 6.0 has there.
            _ => return Ok(Ok(Vec::new())),
        };
        let at = if count * bytes <= 4 {
            entry + 8
        } else {
            value!(self.long(entry + 8))
        };
        let checked = count.min(self.offsets_left);
        self.offsets_left -= checked;
        let mut offsets = Vec::new();
        for number in 0..checked {
            let offset = at + number * bytes;
            offsets.push(if bytes == 2 {
                u64::from(value!(self.short(offset)))
            } else {
                value!(self.long(offset))
            });
        }
        Ok(Ok(offsets))
    }

    fn short(&mut self, at: u64) -> Lookup<u16> {
        let read = if self.is_little {
            u16::from_le_bytes
        } else {
            u16::from_be_bytes
        };
        Ok(self.window.bytes(at)?.map(read).ok_or(PastTheEnd))
    }

    fn long(&mut self, at: u64) -> Lookup<u64> {
        let read = if self.is_little {
            u32::from_le_bytes
        } else {
            u32::from_be_bytes
        };
        Ok(self
            .window
            .bytes(at)?
            .map(|bytes| read(bytes).into())
            .ok_or(PastTheEnd))
    }
}
