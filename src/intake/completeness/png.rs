//! PNG (the specification's section 5): chunks up to and with `IEND`.

use std::io;

use super::verdict::Completeness;
use super::window::Window;

const SIGNATURE_BYTES: u64 = 8;

/// Size of a chunk without its data: length, type and checksum.
const AROUND_CHUNK_BYTES: u64 = 4 + 4 + 4;

pub(super) fn check(window: &mut Window<'_>) -> io::Result<Completeness> {
    let mut at = SIGNATURE_BYTES;
    while let Some(head) = window.bytes::<8>(at)? {
        let [a, b, c, d, name @ ..] = head;
        at = at.saturating_add(AROUND_CHUNK_BYTES + u64::from(u32::from_be_bytes([a, b, c, d])));
        if at > window.size() || !name.iter().all(u8::is_ascii_alphabetic) {
            break;
        }
        if name == *b"IEND" {
            return Ok(Completeness::Complete);
        }
    }
    Ok(Completeness::Truncated)
}
