//! TIFF 6.0, and with it most camera raws (CR2, NEF, ARW, DNG, PEF): directories say where strips
//! and tiles of pixels are. One that begins behind the end is missing, and so is a directory.
//!
//! Where strips *end* is not asked: some writers say lengths that are not theirs, and decoders know
//! that.

use std::io;

use super::{Content, Ending};

/// Tags whose values are places of pixels: strips, tiles, and an old-style JPEG.
const PIXELS: [u16; 3] = [273, 324, 513];

/// The tag of places of more directories: in raws the picture itself is described in one of them.
const CHILDREN: u16 = 330;

/// Types of values: 16 bits, 32 bits, and 32 bits for directories.
const SHORT: u16 = 3;
const LONG: u16 = 4;
const DIRECTORY: u16 = 13;

const ENTRY_BYTES: u64 = 12;

/// So many places are looked at, of pixels and directories together: a panorama has some thousand
/// tiles. Whoever made more means to keep us busy, perhaps in a circle.
const PLACES_MAX: u64 = 1 << 16;

/// What is read where is not there.
struct BehindTheEnd;

type Found<T> = io::Result<Result<T, BehindTheEnd>>;

struct Directories<'walk, 'source> {
    content: &'walk mut Content<'source>,
    is_little: bool,
    waiting: Vec<u64>,
    places_left: u64,
}

pub(super) fn ending(content: &mut Content<'_>) -> io::Result<Ending> {
    let is_little = content.begins(0, b"II")?;
    let mut directories = Directories {
        content,
        is_little,
        waiting: Vec::new(),
        places_left: PLACES_MAX,
    };
    Ok(match directories.look_through_all()? {
        Ok(ending) => ending,
        Err(BehindTheEnd) => Ending::Missing,
    })
}

/// The value, or an early way out of a `Found`.
macro_rules! found {
    ($found:expr) => {
        match $found? {
            Ok(value) => value,
            Err(behind) => return Ok(Err(behind)),
        }
    };
}

impl Directories<'_, '_> {
    fn look_through_all(&mut self) -> Found<Ending> {
        let first = found!(self.long(4));
        self.waiting.push(first);
        while let Some(directory) = self.waiting.pop() {
            if directory != 0 {
                found!(self.look_through(directory));
            }
            if self.places_left == 0 {
                return Ok(Ok(Ending::Unknown));
            }
        }
        Ok(Ok(Ending::There))
    }

    fn look_through(&mut self, directory: u64) -> Found<()> {
        let entries = u64::from(found!(self.short(directory)));
        let behind = directory + 2 + entries * ENTRY_BYTES;
        for number in 0..entries {
            let entry = directory + 2 + number * ENTRY_BYTES;
            let tag = found!(self.short(entry));
            if tag == CHILDREN {
                let children = found!(self.places(entry));
                self.waiting.extend(children);
            } else if PIXELS.contains(&tag) {
                let places = found!(self.places(entry));
                if places.iter().any(|place| *place >= self.content.size()) {
                    return Ok(Err(BehindTheEnd));
                }
            }
        }
        let next = found!(self.long(behind));
        self.waiting.push(next);
        self.places_left = self.places_left.saturating_sub(1);
        Ok(Ok(()))
    }

    /// The values of an entry, which stand in it if they fit, or where it says.
    fn places(&mut self, entry: u64) -> Found<Vec<u64>> {
        let (kind, count) = (found!(self.short(entry + 2)), found!(self.long(entry + 4)));
        let bytes = match kind {
            SHORT => 2,
            LONG | DIRECTORY => 4,
            // Not what TIFF 6.0 puts there: not for us to judge.
            _ => return Ok(Ok(Vec::new())),
        };
        let at = if count * bytes <= 4 {
            entry + 8
        } else {
            found!(self.long(entry + 8))
        };
        let looked_at = count.min(self.places_left);
        self.places_left -= looked_at;
        let mut places = Vec::new();
        for number in 0..looked_at {
            let place = at + number * bytes;
            places.push(if bytes == 2 {
                u64::from(found!(self.short(place)))
            } else {
                found!(self.long(place))
            });
        }
        Ok(Ok(places))
    }

    fn short(&mut self, at: u64) -> Found<u16> {
        let read = if self.is_little {
            u16::from_le_bytes
        } else {
            u16::from_be_bytes
        };
        Ok(self.content.bytes(at)?.map(read).ok_or(BehindTheEnd))
    }

    fn long(&mut self, at: u64) -> Found<u64> {
        let read = if self.is_little {
            u32::from_le_bytes
        } else {
            u32::from_be_bytes
        };
        Ok(self
            .content
            .bytes(at)?
            .map(|bytes| read(bytes).into())
            .ok_or(BehindTheEnd))
    }
}
