//! ISO base media files (ISO/IEC 14496-12) and other formats made of boxes: HEIC, AVIF, CR3, JPEG
//! XL, MP4, `QuickTime`. They are boxes, each with its length; an index (`meta`, `moov`) says where
//! in the data (`mdat`) everything is.

use std::io;

use super::verdict::Completeness;
use super::window::Window;

/// Size of a box header: length and type, and a 64-bit length if the first one is 1.
const HEADER_BYTES: u64 = 8;
const LONG_HEADER_BYTES: u64 = 16;

/// Size of version and flags, with which a `meta` box begins.
const META_FLAGS_BYTES: u64 = 4;

/// Types of boxes that count as truncated if they reach past the end of the file. Bytes of an
/// unknown type after a complete image may be no box at all: some phones and cameras append what
/// they like.
const KNOWN: [&[u8; 4]; 16] = [
    b"ftyp", b"meta", b"moov", b"mdat", b"moof", b"imda", b"idat", b"uuid", b"free", b"skip",
    b"wide", b"jxlc", b"jxlp", b"mini", b"mfra", b"udta",
];

/// Bit in the number of a JPEG XL part (`jxlp`) that marks the last part.
const LAST_PART: u8 = 0x80;

/// The parts found so far that an image cannot be shown without.
#[derive(Clone, Copy, Debug, Default)]
struct FoundParts {
    index: bool,
    data: bool,
}

struct BoxHeader {
    kind: [u8; 4],
    content_at: u64,
    /// Offset after the box, which may be past the end of the file.
    end: u64,
}

pub(super) fn check(window: &mut Window<'_>) -> io::Result<Completeness> {
    let (mut at, mut found) = (0, FoundParts::default());
    while let Some(header) = read_header(window, at)? {
        if header.end > window.size() {
            let is_box = KNOWN.contains(&&header.kind);
            return Ok(if is_box {
                Completeness::Truncated
            } else {
                found.completeness()
            });
        }
        found.add(window, &header)?;
        at = header.end;
    }
    Ok(found.completeness())
}

impl FoundParts {
    fn completeness(self) -> Completeness {
        if self.index && self.data {
            Completeness::Complete
        } else {
            Completeness::Truncated
        }
    }

    fn add(&mut self, window: &mut Window<'_>, header: &BoxHeader) -> io::Result<()> {
        match &header.kind {
            b"moov" | b"moof" => self.index = true,
            b"mdat" | b"imda" => self.data = true,
            b"meta" => {
                self.index = true;
                self.data |= holds_data(window, header)?;
            }
            b"jxlc" | b"mini" => {
                *self = Self {
                    index: true,
                    data: true,
                }
            }
            b"jxlp" => {
                let number = window.byte(header.content_at)?;
                let is_last = number.is_some_and(|number| number & LAST_PART != 0);
                *self = Self {
                    index: true,
                    data: self.data || is_last,
                };
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a `meta` box contains the data of its images.
fn holds_data(window: &mut Window<'_>, meta: &BoxHeader) -> io::Result<bool> {
    let mut at = meta.content_at + META_FLAGS_BYTES;
    while at < meta.end
        && let Some(header) = read_header(window, at)?
    {
        if header.kind == *b"idat" {
            return Ok(true);
        }
        at = header.end;
    }
    Ok(false)
}

/// The header of the box at an offset; `None` if no box begins there. A length of 0 means: up to
/// the end of the file.
fn read_header(window: &mut Window<'_>, at: u64) -> io::Result<Option<BoxHeader>> {
    let Some([a, b, c, d, kind @ ..]) = window.bytes::<8>(at)? else {
        return Ok(None);
    };
    let (header_bytes, length) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (HEADER_BYTES, window.size() - at),
        1 => match window.bytes(at + HEADER_BYTES)?.map(u64::from_be_bytes) {
            Some(length) => (LONG_HEADER_BYTES, length),
            // Cut within its length: whatever that was, it reached further.
            None => (LONG_HEADER_BYTES, u64::MAX),
        },
        length => (HEADER_BYTES, u64::from(length)),
    };
    let is_type = kind
        .iter()
        .all(|letter| matches!(letter, b' '..=b'~' | 0xa9));
    let end = at.saturating_add(length);
    Ok((is_type && length >= header_bytes).then_some(BoxHeader {
        kind,
        content_at: at + header_bytes,
        end,
    }))
}
