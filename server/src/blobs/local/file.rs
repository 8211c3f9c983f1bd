//! Operations on files: opening one that may be missing, identity, hashing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use heirloom_protocol::{Fingerprint, Fingerprinter};

use super::super::error::BlobError;

/// Bytes read at a time when a file is hashed.
const HASH_BYTES: usize = 256 << 10;

/// Opens a file for reading; `None` if it does not exist.
pub(super) fn open_if_exists(path: &Path) -> Result<Option<File>, BlobError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BlobError::io("open", path)(error)),
    }
}

/// Whether `path` still names this very file (same device and inode).
pub(super) fn is_at(file: &File, path: &Path) -> Result<bool, BlobError> {
    let ours = file.metadata().map_err(BlobError::io("stat", path))?;
    match fs::symlink_metadata(path) {
        Ok(theirs) => Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(BlobError::io("stat", path)(error)),
    }
}

/// Reads a file from its start and returns its fingerprint.
pub(super) fn hash(mut file: &File, path: &Path) -> Result<Fingerprint, BlobError> {
    let mut fingerprinter = Fingerprinter::default();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(fingerprinter.finish()),
            Ok(length) => fingerprinter.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BlobError::io("read back", path)(error)),
        }
    }
}
