//! GIF (version 89a, appendix A): blocks up to the trailer.

use std::io;

use super::verdict::Completeness;
use super::window::Window;

/// Signature and logical screen descriptor.
const HEADER_BYTES: u64 = 13;

/// Offsets of the flags in a screen descriptor and in an image descriptor.
const SCREEN_FLAGS_AT: u64 = 10;
const IMAGE_FLAGS_AT: u64 = 9;

/// Length of an image descriptor with its introducer, and of the byte that opens its data.
const IMAGE_BYTES: u64 = 10;
const CODE_SIZE_BYTES: u64 = 1;

pub(super) fn check(window: &mut Window<'_>) -> io::Result<Completeness> {
    let Some(flags) = window.byte(SCREEN_FLAGS_AT)? else {
        return Ok(Completeness::Truncated);
    };
    let mut at = HEADER_BYTES + color_table_bytes(flags);
    loop {
        let next = match window.byte(at)? {
            None => None,
            Some(b';') => return Ok(Completeness::Complete),
            // Some writers leave an empty block between others.
            Some(0) => Some(at + 1),
            // Extension: introducer and label, then its data.
            Some(b'!') => end_of_data(window, at + 2)?,
            Some(b',') => match window.byte(at + IMAGE_FLAGS_AT)? {
                Some(flags) => end_of_data(
                    window,
                    at + IMAGE_BYTES + color_table_bytes(flags) + CODE_SIZE_BYTES,
                )?,
                None => None,
            },
            // Not a block; decoders show what came before it.
            Some(_) => return Ok(Completeness::Unknown),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(Completeness::Truncated),
        }
    }
}

/// Length of the color table that these flags announce.
fn color_table_bytes(flags: u8) -> u64 {
    if flags & 0x80 == 0 {
        0
    } else {
        3 << ((flags & 0x07) + 1)
    }
}

/// Offset after the data blocks that begin at `from`. Each begins with its length; the last has
/// length 0.
fn end_of_data(window: &mut Window<'_>, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    while let Some(length) = window.byte(at)? {
        at += 1 + u64::from(length);
        if length == 0 {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
