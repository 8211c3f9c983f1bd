//! GIF (version 89a, appendix A): blocks up to the trailer.

use std::io;

use super::{Content, Ending};

/// Signature and logical screen descriptor.
const HEADER_BYTES: u64 = 13;

/// The flags of a screen or an image stand so far behind its beginning.
const SCREEN_FLAGS_AT: u64 = 10;
const IMAGE_FLAGS_AT: u64 = 9;

/// An image descriptor with its introducer, and the byte behind it that opens its data.
const IMAGE_BYTES: u64 = 10;
const CODE_SIZE_BYTES: u64 = 1;

pub(super) fn ending(content: &mut Content<'_>) -> io::Result<Ending> {
    let Some(flags) = content.byte(SCREEN_FLAGS_AT)? else {
        return Ok(Ending::Missing);
    };
    let mut at = HEADER_BYTES + color_table_bytes(flags);
    loop {
        let next = match content.byte(at)? {
            None => None,
            Some(b';') => return Ok(Ending::There),
            // Between blocks some writers leave an empty one.
            Some(0) => Some(at + 1),
            // Extension: introducer and label, then its data.
            Some(b'!') => behind_data(content, at + 2)?,
            Some(b',') => match content.byte(at + IMAGE_FLAGS_AT)? {
                Some(flags) => behind_data(
                    content,
                    at + IMAGE_BYTES + color_table_bytes(flags) + CODE_SIZE_BYTES,
                )?,
                None => None,
            },
            // Nobody's block; decoders show what came before it.
            Some(_) => return Ok(Ending::Unknown),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(Ending::Missing),
        }
    }
}

/// The bytes of the color table that these flags announce.
fn color_table_bytes(flags: u8) -> u64 {
    if flags & 0x80 == 0 {
        0
    } else {
        3 << ((flags & 0x07) + 1)
    }
}

/// Where the blocks of data end that begin at a position: each begins with its length, the last has
/// none.
fn behind_data(content: &mut Content<'_>, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    while let Some(length) = content.byte(at)? {
        at += 1 + u64::from(length);
        if length == 0 {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
