//! Sample records for the tests.

use heirloom_protocol::message::Receipt;
use std::collections::HashSet;

use fastrand::Rng;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};

use crate::journal::*;

pub(super) fn fingerprint(number: u64) -> Fingerprint {
    Fingerprint::of(&number.to_le_bytes())
}

pub(super) fn path(number: u64) -> LibraryPath {
    LibraryPath::new(format!("2026/IMG_{number:04}.jpg")).unwrap()
}

pub(super) fn stamp(number: u64) -> Stamp {
    Stamp {
        size: 1000 + number % 1000,
        mtime_ns: 1_750_000_000_000_000_000,
    }
}

pub(super) fn file(number: u64, state: FileState) -> (FileId, FileRecord) {
    (
        FileId(number),
        FileRecord {
            path: path(number),
            stamp: stamp(number),
            state,
        },
    )
}

pub(super) fn pending(number: u64) -> (FileId, FileRecord) {
    file(
        number,
        FileState::Pending {
            fingerprint: fingerprint(number),
        },
    )
}

pub(super) fn backed_up(number: u64) -> (FileId, FileRecord) {
    file(
        number,
        FileState::BackedUp {
            fingerprint: fingerprint(number),
        },
    )
}

pub(super) fn receipt(number: u64) -> Receipt {
    Receipt {
        fingerprint: fingerprint(number),
        size: 1000 + number % 1000,
        stored_at_ms: 1_750_000_000_000,
        signature: None,
    }
}

/// The successful upload of `pending(number)`.
pub(super) fn delivered(number: u64) -> FinishedUpload {
    FinishedUpload {
        id: FileId(number),
        stamp: stamp(number),
        fingerprint: fingerprint(number),
        outcome: UploadOutcome::BackedUp {
            receipt: receipt(number),
        },
    }
}

pub(super) fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

pub(super) fn ids(files: &[(FileId, FileRecord)]) -> Vec<u64> {
    files.iter().map(|(id, _)| id.0).collect()
}

/// Everything that a journal has about the first ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    files: Vec<(FileId, FileRecord)>,
    queue: Vec<u64>,
    receipts: Vec<Option<Receipt>>,
    shards: Vec<RangeSet>,
    names: Vec<(u64, NameChange)>,
    versions: Vec<Option<u64>>,
    tally: Tally,
}

/// Highest id that tests use.
pub(super) const NUMBERS: u64 = 12;

pub(super) fn snapshot(journal: &Journal) -> Snapshot {
    let all = usize::MAX;
    Snapshot {
        files: journal.files_after(None, all).unwrap(),
        queue: ids(&journal.pending(all, 0, &HashSet::new()).unwrap()),
        receipts: (0..NUMBERS)
            .map(|number| journal.receipt(fingerprint(number)).unwrap())
            .collect(),
        shards: (0..NUMBERS)
            .map(|number| journal.shards(fingerprint(number)).unwrap())
            .collect(),
        names: journal.queued_names(all).unwrap(),
        versions: (0..NUMBERS)
            .map(|number| journal.name_version(&path(number)).unwrap())
            .collect(),
        tally: journal.tally(),
    }
}

/// The right tally, counted from all files.
pub(super) fn recount(journal: &Journal) -> Tally {
    let mut tally = Tally::default();
    journal
        .files_after(None, usize::MAX)
        .unwrap()
        .iter()
        .for_each(|(_, record)| tally.add(record));
    tally
}

/// A random operation of a client.
pub(super) fn anything(journal: &Journal, random: &mut Rng) -> Result<(), JournalError> {
    let mut number = || random.u64(0..NUMBERS);
    let (one, other) = (number(), number());
    match random.u8(0..12) {
        0..3 => journal.record(vec![pending(one), pending(other)]),
        3 => journal.record(vec![file(
            one,
            FileState::Local {
                why: "not an image".to_owned(),
            },
        )]),
        4 => journal
            .finish_uploads(vec![delivered(one), delivered(other)])
            .map(|_| ()),
        5 => journal
            .update_names(vec![NameUpdate::Rename {
                id: FileId(one),
                to: path(other),
            }])
            .map(|_| ()),
        6 => journal.forget(vec![FileId(one)]),
        7 => journal.add_shard(fingerprint(one), range(other * 10, other * 10 + 10)),
        8 => journal.queue_names(vec![NameChange::Move {
            from: path(one),
            to: path(other),
        }]),
        9 => journal
            .update_names(vec![NameUpdate::Move {
                id: FileId(one),
                to: path(other),
            }])
            .map(|_| ()),
        10 => journal
            .update_names(vec![NameUpdate::Remove { id: FileId(one) }])
            .map(|_| ()),
        _ => journal.confirm_names(vec![one], vec![(path(one), Some(one)), (path(other), None)]),
    }
}
