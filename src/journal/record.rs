//! Encoding of the journal's records. `docs/FORMAT.md` is the reference.
//!
//! Every value begins with the version of its kind. The encoding is written by hand: there are few
//! kinds of a few fields each, the values are as short as they can be (a million files: about
//! 100 MB), and the document is enough to read them without this program. Numbers are
//! little-endian.

use heirloom_protocol::message::Receipt;
use heirloom_protocol::signature::Signature;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};

use super::entry::{FileRecord, FileState, NameChange, Stamp};
use super::tally::{Amount, Tally};

/// Version of every kind of record that this program writes.
const VERSION: u8 = 1;

/// Version of a receipt with the server's signature.
const SIGNED_VERSION: u8 = 2;

/// Bytes that do not decode as a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer program.
    #[error("its version {0} is newer than this program; update Heirloom")]
    Version(u8),
    /// The bytes end before the record does.
    #[error("it is too short")]
    Short,
    /// A field has an invalid value.
    #[error("its {0} is invalid")]
    Field(&'static str),
}

/// A file's record with its position in the queue, which exactly the pending files have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredFile {
    pub(super) record: FileRecord,
    pub(super) queue_position: Option<u64>,
}

const PENDING: u8 = 0;
const BACKED_UP: u8 = 1;
const LOCAL: u8 = 2;
const FAILED_UNREAD: u8 = 3;
const FAILED: u8 = 4;
const PLACEHOLDER: u8 = 5;

/// Encodes a file's record. `queue_position` is that of a pending one, and ignored for others.
pub(super) fn encode_file(record: &FileRecord, queue_position: u64) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(record.stamp.size.to_le_bytes());
    bytes.extend(record.stamp.mtime_ns.to_le_bytes());
    put_path(&mut bytes, &record.path);
    match &record.state {
        FileState::Pending { fingerprint } => {
            bytes.push(PENDING);
            bytes.extend(fingerprint.as_bytes());
            bytes.extend(queue_position.to_le_bytes());
        }
        FileState::BackedUp { fingerprint } => {
            bytes.push(BACKED_UP);
            bytes.extend(fingerprint.as_bytes());
        }
        FileState::Placeholder { fingerprint } => {
            bytes.push(PLACEHOLDER);
            bytes.extend(fingerprint.as_bytes());
        }
        FileState::Local { why } => {
            bytes.push(LOCAL);
            bytes.extend(why.as_bytes());
        }
        FileState::Failed {
            fingerprint: None,
            why,
        } => {
            bytes.push(FAILED_UNREAD);
            bytes.extend(why.as_bytes());
        }
        FileState::Failed {
            fingerprint: Some(fingerprint),
            why,
        } => {
            bytes.push(FAILED);
            bytes.extend(fingerprint.as_bytes());
            bytes.extend(why.as_bytes());
        }
    }
    bytes
}

pub(super) fn decode_file(bytes: &[u8]) -> Result<StoredFile, RecordError> {
    let mut reader = Reader::begin(bytes)?;
    let stamp = Stamp {
        size: reader.u64()?,
        mtime_ns: reader.i64()?,
    };
    let path = reader.path()?;
    let tag = reader.u8()?;
    let mut queue_position = None;
    let state = match tag {
        PENDING => {
            let fingerprint = reader.fingerprint()?;
            queue_position = Some(reader.u64()?);
            FileState::Pending { fingerprint }
        }
        BACKED_UP => FileState::BackedUp {
            fingerprint: reader.fingerprint()?,
        },
        PLACEHOLDER => FileState::Placeholder {
            fingerprint: reader.fingerprint()?,
        },
        LOCAL => FileState::Local {
            why: reader.text()?,
        },
        FAILED_UNREAD => FileState::Failed {
            fingerprint: None,
            why: reader.text()?,
        },
        FAILED => FileState::Failed {
            fingerprint: Some(reader.fingerprint()?),
            why: reader.text()?,
        },
        _ => return Err(RecordError::Field("state")),
    };
    reader.end()?;
    Ok(StoredFile {
        record: FileRecord { path, stamp, state },
        queue_position,
    })
}

/// Encodes a receipt without its fingerprint, which is its key. A signed one has version 2, so that
/// a program that does not know signatures does not drop them unseen.
pub(super) fn encode_receipt(receipt: &Receipt) -> Vec<u8> {
    let mut bytes = vec![if receipt.signature.is_some() {
        SIGNED_VERSION
    } else {
        VERSION
    }];
    bytes.extend(receipt.size.to_le_bytes());
    bytes.extend(receipt.stored_at_ms.to_le_bytes());
    bytes.extend(receipt.signature.iter().flat_map(Signature::as_bytes));
    bytes
}

pub(super) fn decode_receipt(
    fingerprint: Fingerprint,
    bytes: &[u8],
) -> Result<Receipt, RecordError> {
    let mut reader = Reader(bytes);
    let version = reader.u8()?;
    if !matches!(version, VERSION | SIGNED_VERSION) {
        return Err(RecordError::Version(version));
    }
    let (size, stored_at_ms) = (reader.u64()?, reader.i64()?);
    let signature = match version {
        SIGNED_VERSION => Some(Signature::from(reader.array::<64>()?)),
        _ => None,
    };
    reader.end()?;
    Ok(Receipt {
        fingerprint,
        size,
        stored_at_ms,
        signature,
    })
}

/// Encodes a shard list: start and end of each range.
pub(super) fn encode_shards(ranges: &RangeSet) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for range in ranges.iter() {
        bytes.extend(range.start().to_le_bytes());
        bytes.extend(range.end().to_le_bytes());
    }
    bytes
}

pub(super) fn decode_shards(bytes: &[u8]) -> Result<RangeSet, RecordError> {
    let mut reader = Reader::begin(bytes)?;
    let mut ranges = RangeSet::new();
    while !reader.0.is_empty() {
        let range = ByteRange::new(reader.u64()?, reader.u64()?);
        ranges.insert(range.map_err(|_| RecordError::Field("range"))?);
    }
    Ok(ranges)
}

const PUT: u8 = 0;
const MOVE: u8 = 1;
const REMOVE: u8 = 2;

pub(super) fn encode_change(change: &NameChange) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    match change {
        NameChange::Put {
            path,
            fingerprint,
            mtime_ns,
        } => {
            bytes.push(PUT);
            put_path(&mut bytes, path);
            bytes.extend(fingerprint.as_bytes());
            bytes.extend(mtime_ns.to_le_bytes());
        }
        NameChange::Move { from, to } => {
            bytes.push(MOVE);
            put_path(&mut bytes, from);
            put_path(&mut bytes, to);
        }
        NameChange::Remove { path } => {
            bytes.push(REMOVE);
            put_path(&mut bytes, path);
        }
    }
    bytes
}

pub(super) fn decode_change(bytes: &[u8]) -> Result<NameChange, RecordError> {
    let mut reader = Reader::begin(bytes)?;
    let change = match reader.u8()? {
        PUT => NameChange::Put {
            path: reader.path()?,
            fingerprint: reader.fingerprint()?,
            mtime_ns: reader.i64()?,
        },
        MOVE => NameChange::Move {
            from: reader.path()?,
            to: reader.path()?,
        },
        REMOVE => NameChange::Remove {
            path: reader.path()?,
        },
        _ => return Err(RecordError::Field("change")),
    };
    reader.end()?;
    Ok(change)
}

/// Encodes counts and sizes by state, in the order of the document.
pub(super) fn encode_tally(tally: &Tally) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let Tally {
        pending,
        backed_up,
        local,
        failed,
        placeholder,
    } = tally;
    for amount in [pending, backed_up, local, failed, placeholder] {
        bytes.extend(amount.files.to_le_bytes());
        bytes.extend(amount.bytes.to_le_bytes());
    }
    bytes
}

pub(super) fn decode_tally(bytes: &[u8]) -> Result<Tally, RecordError> {
    let mut reader = Reader::begin(bytes)?;
    let mut amount = || {
        Ok(Amount {
            files: reader.u64()?,
            bytes: reader.u64()?,
        })
    };
    // In the order of these fields.
    Ok(Tally {
        pending: amount()?,
        backed_up: amount()?,
        local: amount()?,
        failed: amount()?,
        placeholder: amount()?,
    })
}

fn put_path(bytes: &mut Vec<u8>, path: &LibraryPath) {
    let text = path.as_str().as_bytes();
    let length = u16::try_from(text.len()).expect("a library path has at most 4095 bytes");
    bytes.extend(length.to_le_bytes());
    bytes.extend(text);
}

/// The rest of a record that is being decoded.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn begin(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Self(bytes);
        match reader.u8()? {
            VERSION => Ok(reader),
            other => Err(RecordError::Version(other)),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(RecordError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(RecordError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_le_bytes)
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, RecordError> {
        self.array::<32>().map(Fingerprint::from)
    }

    fn path(&mut self) -> Result<LibraryPath, RecordError> {
        let length = self.array().map(u16::from_le_bytes)?;
        let text =
            str::from_utf8(self.take(length.into())?).map_err(|_| RecordError::Field("path"))?;
        LibraryPath::new(text).map_err(|_| RecordError::Field("path"))
    }

    /// The rest of the record, as text.
    fn text(&mut self) -> Result<String, RecordError> {
        let text =
            str::from_utf8(std::mem::take(&mut self.0)).map_err(|_| RecordError::Field("text"))?;
        Ok(text.to_owned())
    }

    fn end(self) -> Result<(), RecordError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(RecordError::Field("length"))
        }
    }
}

/// Fuzz target: decodes arbitrary bytes as a record, whose kind the first byte selects (see
/// `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    use std::fmt::Debug;
    fn check<T: PartialEq + Debug>(
        bytes: &[u8],
        decode: fn(&[u8]) -> Result<T, RecordError>,
        encode: fn(&T) -> Vec<u8>,
    ) {
        if let Ok(record) = decode(bytes) {
            assert_eq!(decode(&encode(&record)).as_ref(), Ok(&record));
        }
    }
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    match kind {
        b'f' => check(bytes, decode_file, |it| {
            encode_file(&it.record, it.queue_position.unwrap_or_default())
        }),
        b'r' => check(
            bytes,
            |bytes| decode_receipt(Fingerprint::of(b"any"), bytes),
            encode_receipt,
        ),
        b's' => check(bytes, decode_shards, encode_shards),
        b'n' => check(bytes, decode_change, encode_change),
        b't' => check(bytes, decode_tally, encode_tally),
        _ => {}
    }
}
