//! PNG (the specification's section 5): chunks up to and with `IEND`.

use std::io;

use super::{Content, Ending};

const SIGNATURE_BYTES: u64 = 8;

/// Length, type and checksum of a chunk.
const AROUND_CHUNK_BYTES: u64 = 4 + 4 + 4;

pub(super) fn ending(content: &mut Content<'_>) -> io::Result<Ending> {
    let mut at = SIGNATURE_BYTES;
    while let Some(head) = content.bytes::<8>(at)? {
        let [a, b, c, d, name @ ..] = head;
        at = at.saturating_add(AROUND_CHUNK_BYTES + u64::from(u32::from_be_bytes([a, b, c, d])));
        if at > content.size() || !name.iter().all(u8::is_ascii_alphabetic) {
            break;
        }
        if name == *b"IEND" {
            return Ok(Ending::There);
        }
    }
    Ok(Ending::Missing)
}
