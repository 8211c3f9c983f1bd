//! WebP (RFC 9649): its RIFF header says how long it is.

use std::io;

use super::{Content, Ending};

/// What the length does not count: `RIFF`, and itself.
const UNCOUNTED_BYTES: u64 = 8;

pub(super) fn ending(content: &mut Content<'_>) -> io::Result<Ending> {
    Ok(match content.bytes(4)?.map(u32::from_le_bytes) {
        Some(length) if u64::from(length) + UNCOUNTED_BYTES <= content.size() => Ending::There,
        Some(_) | None => Ending::Missing,
    })
}
