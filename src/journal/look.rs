//! What one look at the tables answers. Each function takes the tables it needs, open for reading
//! or for writing.

use std::collections::HashSet;

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{Fingerprint, RangeSet};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata as _};

use super::entry::{FileId, FileRecord, FileState, NameChange};
use super::error::Fault;
use super::record::{self, StoredFile};
use super::tables::{FILES, NAMES};
use super::tally::Counts;

type Fingerprinted = &'static [u8; 32];
type Bytes = &'static [u8];

/// What is known of a file, with its place in the queue.
pub(super) fn file(
    files: &impl ReadableTable<u64, Bytes>,
    id: FileId,
) -> Result<Option<StoredFile>, Fault> {
    let Some(bytes) = files.get(id.0)? else {
        return Ok(None);
    };
    let stored = record::decode_file(bytes.value());
    stored.map(Some).map_err(|source| Fault::Record {
        what: format!("file {}", id.0),
        source,
    })
}

/// Up to `limit` files from `first` on, by ascending id.
pub(super) fn files_from(
    files: &impl ReadableTable<u64, Bytes>,
    first: u64,
    limit: usize,
) -> Result<Vec<(FileId, FileRecord)>, Fault> {
    let mut found = Vec::new();
    for entry in files.range(first..)? {
        if found.len() == limit {
            break;
        }
        let (id, bytes) = entry?;
        found.extend(
            readable(id.value(), bytes.value()).map(|stored| (FileId(id.value()), stored.record)),
        );
    }
    Ok(found)
}

/// From both ends of the queue, without what is in `except`.
pub(super) fn pending(
    files: &impl ReadableTable<u64, Bytes>,
    queue: &impl ReadableTable<u64, u64>,
    newest: usize,
    oldest: usize,
    except: &HashSet<FileId>,
) -> Result<Vec<(FileId, FileRecord)>, Fault> {
    let wanted = |place: u64, id: u64| -> Result<Option<(FileId, FileRecord)>, Fault> {
        let id = FileId(id);
        if except.contains(&id) {
            return Ok(None);
        }
        let Some(bytes) = files.get(id.0)? else {
            return Ok(None);
        };
        // A place that its file does not know of was left by a record that could not be read.
        let stored = readable(id.0, bytes.value()).filter(|stored| stored.place == Some(place));
        Ok(stored.map(|stored| (id, stored.record)))
    };
    let mut found = Vec::new();
    // Everything from here on was looked at from the newest end.
    let mut seen_from = u64::MAX;
    let mut backwards = queue.range::<u64>(..)?.rev();
    while found.len() < newest {
        let Some(entry) = backwards.next() else {
            return Ok(found);
        };
        let (place, id) = entry?;
        seen_from = place.value();
        found.extend(wanted(seen_from, id.value())?);
    }
    let limit = newest.saturating_add(oldest);
    for entry in queue.range(..seen_from)? {
        if found.len() == limit {
            break;
        }
        let (place, id) = entry?;
        found.extend(wanted(place.value(), id.value())?);
    }
    Ok(found)
}

/// Up to `limit` of the files that need a person, from `first` on.
pub(super) fn failed_from(
    files: &impl ReadableTable<u64, Bytes>,
    failed: &impl ReadableTable<u64, ()>,
    first: u64,
    limit: usize,
) -> Result<Vec<(FileId, FileRecord)>, Fault> {
    let mut found = Vec::new();
    for entry in failed.range(first..)? {
        if found.len() == limit {
            break;
        }
        let id = entry?.0.value();
        let Some(bytes) = files.get(id)? else {
            continue;
        };
        // An entry that its file does not know of was left by a record that could not be read.
        let stored = readable(id, bytes.value())
            .filter(|it| matches!(it.record.state, FileState::Failed { .. }));
        found.extend(stored.map(|stored| (FileId(id), stored.record)));
    }
    Ok(found)
}

/// The receipt of an image.
pub(super) fn receipt(
    receipts: &impl ReadableTable<Fingerprinted, Bytes>,
    fingerprint: Fingerprint,
) -> Result<Option<Receipt>, Fault> {
    let Some(bytes) = receipts.get(fingerprint.as_bytes())? else {
        return Ok(None);
    };
    let receipt = record::decode_receipt(fingerprint, bytes.value());
    receipt.map(Some).map_err(|source| Fault::Record {
        what: format!("the receipt of {fingerprint}"),
        source,
    })
}

/// The shard list of an image; empty if there is none.
pub(super) fn shards(
    shards: &impl ReadableTable<Fingerprinted, Bytes>,
    fingerprint: Fingerprint,
) -> Result<RangeSet, Fault> {
    let Some(bytes) = shards.get(fingerprint.as_bytes())? else {
        return Ok(RangeSet::new());
    };
    let ranges = record::decode_shards(bytes.value());
    ranges.map_err(|source| Fault::Record {
        what: format!("the shards of {fingerprint}"),
        source,
    })
}

/// The oldest changes of names. One that cannot be read holds up those behind it: their order is
/// their meaning.
pub(super) fn queued_names(
    names: &impl ReadableTable<u64, Bytes>,
    limit: usize,
) -> Result<Vec<(u64, NameChange)>, Fault> {
    let mut found = Vec::new();
    for entry in names.iter()?.take(limit) {
        let (sequence, bytes) = entry?;
        let sequence = sequence.value();
        let change = record::decode_change(bytes.value()).map_err(|source| Fault::Record {
            what: format!("name change {sequence}"),
            source,
        })?;
        found.push((sequence, change));
    }
    Ok(found)
}

/// What the whole journal holds, by one pass over it.
pub(super) fn recount(transaction: &ReadTransaction) -> Result<Counts, Fault> {
    let mut counts = Counts {
        names: transaction.open_table(NAMES)?.len()?,
        ..Counts::default()
    };
    for entry in transaction.open_table(FILES)?.iter()? {
        let (id, bytes) = entry?;
        if let Some(stored) = readable(id.value(), bytes.value()) {
            counts.tally.add(&stored.record);
        }
    }
    Ok(counts)
}

/// Among many, a file's record that cannot be read is as good as none: the file will be found in
/// the spool, and recorded anew.
fn readable(id: u64, bytes: &[u8]) -> Option<StoredFile> {
    match record::decode_file(bytes) {
        Ok(stored) => Some(stored),
        Err(error) => {
            tracing::warn!(file = id, %error, "passing over a record that cannot be read");
            None
        }
    }
}
