//! ISO base media files (ISO/IEC 14496-12) and what shares their frame: HEIC, AVIF, CR3, JPEG XL,
//! MP4, `QuickTime`. They are boxes, each with its length; an index (`meta`, `moov`) says where in
//! the data (`mdat`) everything is.

use std::io;

use super::{Content, Ending};

/// Length and type; and the length in 64 bits, where the first one says so.
const HEAD_BYTES: u64 = 8;
const LONG_HEAD_BYTES: u64 = 16;

/// `meta` begins with a version and flags before its boxes.
const META_FLAGS_BYTES: u64 = 4;

/// A box of such a type that reaches past the end was cut. One of a type that nobody knows, behind
/// a whole image, may be no box at all: some phones and cameras append what they like.
const KNOWN: [&[u8; 4]; 16] = [
    b"ftyp", b"meta", b"moov", b"mdat", b"moof", b"imda", b"idat", b"uuid", b"free", b"skip",
    b"wide", b"jxlc", b"jxlp", b"mini", b"mfra", b"udta",
];

/// In a part of a JPEG XL image (`jxlp`) this bit of its number says that it is the last.
const LAST_PART: u8 = 0x80;

/// Which of the parts that an image cannot do without were met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    index: bool,
    data: bool,
}

struct Head {
    kind: [u8; 4],
    content_at: u64,
    /// Where it ends, whether or not the file reaches so far.
    end: u64,
}

pub(super) fn ending(content: &mut Content<'_>) -> io::Result<Ending> {
    let (mut at, mut met) = (0, Met::default());
    while let Some(head) = read_head(content, at)? {
        if head.end > content.size() {
            let is_box = KNOWN.contains(&&head.kind);
            return Ok(if is_box {
                Ending::Missing
            } else {
                met.ending()
            });
        }
        met.meet(content, &head)?;
        at = head.end;
    }
    Ok(met.ending())
}

impl Met {
    fn ending(self) -> Ending {
        if self.index && self.data {
            Ending::There
        } else {
            Ending::Missing
        }
    }

    fn meet(&mut self, content: &mut Content<'_>, head: &Head) -> io::Result<()> {
        match &head.kind {
            b"moov" | b"moof" => self.index = true,
            b"mdat" | b"imda" => self.data = true,
            b"meta" => {
                self.index = true;
                self.data |= holds_data(content, head)?;
            }
            b"jxlc" | b"mini" => {
                *self = Self {
                    index: true,
                    data: true,
                }
            }
            b"jxlp" => {
                let number = content.byte(head.content_at)?;
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

/// Whether a `meta` has the data of its small images within itself.
fn holds_data(content: &mut Content<'_>, meta: &Head) -> io::Result<bool> {
    let mut at = meta.content_at + META_FLAGS_BYTES;
    while at < meta.end
        && let Some(head) = read_head(content, at)?
    {
        if head.kind == *b"idat" {
            return Ok(true);
        }
        at = head.end;
    }
    Ok(false)
}

/// The head of the box at a position; nothing if none begins there. A length of 0 means: up to the
/// end.
fn read_head(content: &mut Content<'_>, at: u64) -> io::Result<Option<Head>> {
    let Some([a, b, c, d, kind @ ..]) = content.bytes::<8>(at)? else {
        return Ok(None);
    };
    let (head_bytes, length) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (HEAD_BYTES, content.size() - at),
        1 => match content.bytes(at + HEAD_BYTES)?.map(u64::from_be_bytes) {
            Some(length) => (LONG_HEAD_BYTES, length),
            // Cut within its length: whatever that was, it reached further.
            None => (LONG_HEAD_BYTES, u64::MAX),
        },
        length => (HEAD_BYTES, u64::from(length)),
    };
    let is_type = kind
        .iter()
        .all(|letter| matches!(letter, b' '..=b'~' | 0xa9));
    let end = at.saturating_add(length);
    Ok((is_type && length >= head_bytes).then_some(Head {
        kind,
        content_at: at + head_bytes,
        end,
    }))
}
