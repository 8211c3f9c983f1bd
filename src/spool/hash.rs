//! Fingerprint of the content of a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use heirloom_protocol::{Fingerprint, Fingerprinter};

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

/// SHA-256 of the whole file, read without interruption. Holes of a placeholder are read as zeros,
/// which are not its content.
pub fn fingerprint_of(file: &File) -> io::Result<Fingerprint> {
    let (mut fingerprinter, mut buffer, mut at) =
        (Fingerprinter::default(), vec![0; READ_BYTES], 0);
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(fingerprinter.finish()),
            Ok(count) => {
                fingerprinter.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
