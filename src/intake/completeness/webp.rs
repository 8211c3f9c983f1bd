//! WebP (RFC 9649): its RIFF header says how long it is.

use std::io;

use super::verdict::Completeness;
use super::window::Window;

/// Bytes that the length does not count: `RIFF`, and itself.
const UNCOUNTED_BYTES: u64 = 8;

pub(super) fn check(window: &mut Window<'_>) -> io::Result<Completeness> {
    Ok(match window.bytes(4)?.map(u32::from_le_bytes) {
        Some(length) if u64::from(length) + UNCOUNTED_BYTES <= window.size() => {
            Completeness::Complete
        }
        Some(_) | None => Completeness::Truncated,
    })
}
