//! Short ways to say what the tests speak of.

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath};

use crate::journal::*;

pub(super) fn fingerprint(number: u64) -> Fingerprint {
    Fingerprint::of(&number.to_le_bytes())
}

pub(super) fn path(number: u64) -> LibraryPath {
    LibraryPath::new(format!("2026/IMG_{number:04}.jpg")).unwrap()
}

pub(super) fn stamp(number: u64) -> Stamp {
    Stamp { size: 1000 + number % 1000, mtime_ns: 1_750_000_000_000_000_000 }
}

pub(super) fn file(number: u64, state: FileState) -> (FileId, FileRecord) {
    (FileId(number), FileRecord { path: path(number), stamp: stamp(number), state })
}

pub(super) fn pending(number: u64) -> (FileId, FileRecord) {
    file(number, FileState::Pending { fingerprint: fingerprint(number) })
}

pub(super) fn backed_up(number: u64) -> (FileId, FileRecord) {
    file(number, FileState::BackedUp { fingerprint: fingerprint(number) })
}

pub(super) fn receipt(number: u64) -> Receipt {
    Receipt { fingerprint: fingerprint(number), size: 1000 + number % 1000, stored_at_ms: 1_750_000_000_000 }
}

/// The good end of the delivery of `pending(number)`.
pub(super) fn delivered(number: u64) -> Settled {
    Settled {
        id: FileId(number),
        stamp: stamp(number),
        fingerprint: fingerprint(number),
        outcome: Outcome::BackedUp { receipt: receipt(number) },
    }
}

pub(super) fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

pub(super) fn ids(files: &[(FileId, FileRecord)]) -> Vec<u64> {
    files.iter().map(|(id, _)| id.0).collect()
}
