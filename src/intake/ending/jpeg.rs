//! JPEG (ITU-T T.81, annex B): markers from SOI to EOI, with a scan before the EOI.
//!
//! Segments are skipped by their length, so that the end of a thumbnail in one of them is not taken
//! for the photo's. What stands where a marker should is passed over, as decoders do.

use std::io;

use super::{Content, Ending};

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// The first image of the file decides: what cameras put behind it (MPF, films) is no part of it.
pub(super) fn ending(content: &mut Content<'_>) -> io::Result<Ending> {
    let (mut at, mut scanned) = (2, false);
    while let Some((marker, behind)) = next_marker(content, at)? {
        at = match marker {
            END_OF_IMAGE if scanned => return Ok(Ending::There),
            // They stand alone: TEM and what is reserved, RST0 to RST7, SOI, and an EOI without an
            // image.
            0x01..=0xbf | 0xd0..=END_OF_IMAGE => behind,
            _ => {
                scanned |= marker == START_OF_SCAN;
                let Some(length) = content.bytes(behind)?.map(u16::from_be_bytes) else {
                    break;
                };
                // The length counts itself.
                behind + u64::from(length.max(2))
            }
        };
    }
    Ok(Ending::Missing)
}

/// The next marker at or behind a position, and where what follows it stands. 0xFF 0x00 is a byte
/// of a scan, and 0xFF before a marker is filling.
fn next_marker(content: &mut Content<'_>, from: u64) -> io::Result<Option<(u8, u64)>> {
    let mut from = from;
    while let Some(at) = content.find(0xff, from)? {
        match content.byte(at + 1)? {
            None => return Ok(None),
            Some(0x00) => from = at + 2,
            Some(0xff) => from = at + 1,
            Some(marker) => return Ok(Some((marker, at + 2))),
        }
    }
    Ok(None)
}
