//! JPEG (ITU-T T.81, annex B): markers from SOI to EOI, with a scan before the EOI.
//!
//! Segments are skipped by their length, so that the end of a thumbnail in one of them is not taken
//! for the photo's. Bytes where a marker should be are skipped, as decoders do.

use std::io;

use super::verdict::Completeness;
use super::window::Window;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// Checks the first image of the file; what cameras put behind it (MPF, videos) is no part of it.
pub(super) fn check(window: &mut Window<'_>) -> io::Result<Completeness> {
    let (mut at, mut scanned) = (2, false);
    while let Some((marker, behind)) = next_marker(window, at)? {
        at = match marker {
            END_OF_IMAGE if scanned => return Ok(Completeness::Complete),
            // Markers without a segment: TEM and reserved ones, RST0 to RST7, SOI, and an EOI
            // without an image.
            0x01..=0xbf | 0xd0..=END_OF_IMAGE => behind,
            _ => {
                scanned |= marker == START_OF_SCAN;
                let Some(length) = window.bytes(behind)?.map(u16::from_be_bytes) else {
                    break;
                };
                // The length counts itself.
                behind + u64::from(length.max(2))
            }
        };
    }
    Ok(Completeness::Truncated)
}

/// The next marker at or behind an offset, and the offset behind it. 0xFF 0x00 is a byte of a scan,
/// and 0xFF before a marker is padding.
fn next_marker(window: &mut Window<'_>, from: u64) -> io::Result<Option<(u8, u64)>> {
    let mut from = from;
    while let Some(at) = window.find(0xff, from)? {
        match window.byte(at + 1)? {
            None => return Ok(None),
            Some(0x00) => from = at + 2,
            Some(0xff) => from = at + 1,
            Some(marker) => return Ok(Some((marker, at + 2))),
        }
    }
    Ok(None)
}
