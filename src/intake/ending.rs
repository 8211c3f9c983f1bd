//! *Endings*: whether an image has one.
//!
//! What a power cut leaves of a photo is a shorter one, or one that ends in zeros: name and first
//! bytes are right. Where no mark says so (`spool::WriteStateMarker`), because the disk keeps no attributes
//! or the file came without them, only its own format can tell. Formats that end in a marker, or
//! say how long they are, are walked from part to part; of all others nothing is known.
//!
//! What stands behind the end is nobody's business: phones append films, depth maps and padding to
//! their photos. So a part is missing only if what comes before it cannot be shown without, and the
//! walk says *missing* only of what no decoder would call whole.

mod content;
mod gif;
mod iso;
mod jpeg;
mod png;
#[cfg(test)]
mod tests;
mod tiff;
mod webp;

use std::io;

pub(super) use content::{Content, Source};

/// Whether an image's own bytes say that it is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// They do.
    There,
    /// They say that more was to come.
    Missing,
    /// They do not tell, or not us.
    Unknown,
}

/// How the ending of a format is found.
type Walk = fn(&mut Content<'_>) -> io::Result<Ending>;

/// First bytes, where they stand, and the walk that they call for.
const WALKS: [(&[u8], u64, Walk); 13] = [
    (b"\xff\xd8\xff", 0, jpeg::ending),
    (b"\x89PNG\r\n\x1a\n", 0, png::ending),
    (b"GIF87a", 0, gif::ending),
    (b"GIF89a", 0, gif::ending),
    (b"WEBP", 8, webp::ending),
    (b"II*\0", 0, tiff::ending),
    (b"MM\0*", 0, tiff::ending),
    (b"ftyp", 4, iso::ending),
    (b"JXL \r\n\x87\n", 4, iso::ending),
    // QuickTime from before there was an `ftyp`.
    (b"moov", 4, iso::ending),
    (b"mdat", 4, iso::ending),
    (b"wide", 4, iso::ending),
    (b"free", 4, iso::ending),
];

/// Looks for the end of an image; reads as much of it as that takes, which may be all. Errors are
/// those of reading.
pub(super) fn ending(source: &dyn Source, size: u64) -> io::Result<Ending> {
    let mut content = Content::new(source, size);
    for (magic, at, walk) in WALKS {
        if content.begins(at, magic)? {
            return walk(&mut content);
        }
    }
    Ok(Ending::Unknown)
}

/// Puts made-up bytes on trial as a file: what is it, and has it its end (see `tests/fuzz`)?
#[cfg(any(test, fuzzing))]
pub fn trial(bytes: &[u8]) {
    use super::kind::{HEAD_BYTES, left_by_kind};
    use crate::config::Accept;

    let name = heirloom_protocol::LibraryPath::new("a.jpg").expect("a path");
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let taken = [Accept::Images, Accept::Media, Accept::All]
        .map(|accept| left_by_kind(accept, &name, head).is_none());
    // Who accepts more takes all that others take.
    assert!(taken.is_sorted());
    let size = bytes.len() as u64;
    let judged = ending(&bytes, size).expect("memory can be read");
    // Bytes behind the end of the file do not count, whatever they are.
    assert_eq!(
        ending(&[bytes, b"IEND\xff\xd9;"].concat().as_slice(), size).expect("memory can be read"),
        judged
    );
}

#[cfg(any(test, fuzzing))]
impl Source for &[u8] {
    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let from = usize::try_from(at)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        // Never all that is asked for, as disks may.
        let length = buffer.len().min(from.len()).min(1000);
        buffer[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }
}
