//! The content of a file, as its fingerprint.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use heirloom_protocol::{Fingerprint, Fingerprinter};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// SHA-256 of all of a file, read from the disk in one go. Holes of a placeholder are read as they
/// are: they are no content.
pub fn fingerprint_of(file: &File) -> io::Result<Fingerprint> {
    let (mut fingerprinter, mut piece, mut at) =
        (Fingerprinter::default(), vec![0; PIECE_BYTES], 0);
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return Ok(fingerprinter.finish()),
            Ok(count) => {
                fingerprinter.update(&piece[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
