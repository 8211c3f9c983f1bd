//! Whether an image is complete, by its own format.
//!
//! A power cut leaves a photo shorter, or ending in zeros: name and first bytes are right. Where no
//! write state says so (`spool::WriteStateMarker`), because the disk keeps no attributes or the
//! file came without them, only its own format can tell. Formats that end in a marker, or state
//! their length, are read from part to part; for all others the answer is unknown.
//!
//! Bytes after the end do not matter: phones append videos, depth maps and padding to their
//! photos. So a part counts as missing only if the image cannot be shown without it, and a file
//! counts as truncated only if no decoder would call it complete.

use std::io;

mod gif;
mod isobmff;
mod jpeg;
mod png;
mod tiff;
mod webp;
mod window;
mod verdict;
#[cfg(test)]
mod tests;

pub(super) use verdict::Completeness;

use window::{ReadAt, Window};

/// Reads a file of one format up to its end.
type FormatCheck = fn(&mut Window<'_>) -> io::Result<Completeness>;

/// First bytes, their offset, and the check for the format that they belong to.
const CHECKS: [(&[u8], u64, FormatCheck); 13] = [
    (b"\xff\xd8\xff", 0, jpeg::check),
    (b"\x89PNG\r\n\x1a\n", 0, png::check),
    (b"GIF87a", 0, gif::check),
    (b"GIF89a", 0, gif::check),
    (b"WEBP", 8, webp::check),
    (b"II*\0", 0, tiff::check),
    (b"MM\0*", 0, tiff::check),
    (b"ftyp", 4, isobmff::check),
    (b"JXL \r\n\x87\n", 4, isobmff::check),
    // QuickTime from before there was an `ftyp`.
    (b"moov", 4, isobmff::check),
    (b"mdat", 4, isobmff::check),
    (b"wide", 4, isobmff::check),
    (b"free", 4, isobmff::check),
];

/// Looks for the end of an image of `size` bytes; reads as much of it as that takes, which may be
/// all. Errors are those of reading.
pub(super) fn check(source: &dyn ReadAt, size: u64) -> io::Result<Completeness> {
    let mut window = Window::new(source, size);
    for (magic, at, check) in CHECKS {
        if window.has_bytes(at, magic)? {
            return check(&mut window);
        }
    }
    Ok(Completeness::Unknown)
}

/// Fuzz target: classifies arbitrary bytes as a file and looks for its end (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    use super::kind::{HEAD_BYTES, skip_reason_for_content};
    use crate::config::Accept;

    let name = heirloom_protocol::LibraryPath::new("a.jpg").expect("a path");
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let accepted = [Accept::Images, Accept::Media, Accept::All]
        .map(|accept| skip_reason_for_content(accept, &name, head).is_none());
    // A setting that accepts more accepts everything that the others do.
    assert!(accepted.is_sorted());
    let size = bytes.len() as u64;
    let found = check(&bytes, size).expect("memory can be read");
    // Bytes past the end of the file do not count, whatever they are.
    assert_eq!(
        check(&[bytes, b"IEND\xff\xd9;"].concat().as_slice(), size).expect("memory can be read"),
        found
    );
}
