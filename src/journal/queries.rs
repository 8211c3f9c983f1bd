//! Queries. Each function takes the tables that it needs, open for reading or for writing.

use std::collections::HashSet;

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{Fingerprint, RangeSet};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata as _};

use super::entry::{FileId, FileRecord, FileState, NameChange};
use super::error::QueryError;
use super::record::{self, StoredFile};
use super::schema::{
    COUNTED_FILES_KEY, FAILED, FILES, FingerprintKey, OUTBOX, QUEUE, RecordBytes, STORED_COUNTS,
    UNCONFIRMED,
};
use super::tally::{Counts, Exactness};

/// The record of a file, with its position in the queue.
pub(super) fn file(
    files: &impl ReadableTable<u64, RecordBytes>,
    id: FileId,
) -> Result<Option<StoredFile>, QueryError> {
    let Some(bytes) = files.get(id.0)? else {
        return Ok(None);
    };
    let stored = record::decode_file(bytes.value());
    stored.map(Some).map_err(|source| QueryError::Record {
        what: format!("file {}", id.0),
        source,
    })
}

/// Up to `limit` files from `first` on, by ascending id.
pub(super) fn files_from(
    files: &impl ReadableTable<u64, RecordBytes>,
    first: u64,
    limit: usize,
) -> Result<Vec<(FileId, FileRecord)>, QueryError> {
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

/// Files from both ends of the queue, without those in `except`.
pub(super) fn pending(
    files: &impl ReadableTable<u64, RecordBytes>,
    queue: &impl ReadableTable<u64, u64>,
    newest: usize,
    oldest: usize,
    except: &HashSet<FileId>,
) -> Result<Vec<(FileId, FileRecord)>, QueryError> {
    let wanted = |position: u64, id: u64| -> Result<Option<(FileId, FileRecord)>, QueryError> {
        let id = FileId(id);
        if except.contains(&id) {
            return Ok(None);
        }
        let Some(bytes) = files.get(id.0)? else {
            return Ok(None);
        };
        // A position that does not match the file's record was left by one that could not be read.
        let stored =
            readable(id.0, bytes.value()).filter(|stored| stored.queue_position == Some(position));
        Ok(stored.map(|stored| (id, stored.record)))
    };
    let mut found = Vec::new();
    // Everything from this position on was visited from the newest end.
    let mut seen_from = u64::MAX;
    let mut backwards = queue.range::<u64>(..)?.rev();
    while found.len() < newest {
        let Some(entry) = backwards.next() else {
            return Ok(found);
        };
        let (position, id) = entry?;
        seen_from = position.value();
        found.extend(wanted(seen_from, id.value())?);
    }
    let limit = newest.saturating_add(oldest);
    for entry in queue.range(..seen_from)? {
        if found.len() == limit {
            break;
        }
        let (position, id) = entry?;
        found.extend(wanted(position.value(), id.value())?);
    }
    Ok(found)
}

/// Up to `limit` failed files, from `first` on.
pub(super) fn failed_from(
    files: &impl ReadableTable<u64, RecordBytes>,
    failed: &impl ReadableTable<u64, ()>,
    first: u64,
    limit: usize,
) -> Result<Vec<(FileId, FileRecord)>, QueryError> {
    let mut found = Vec::new();
    for entry in failed.range(first..)? {
        if found.len() == limit {
            break;
        }
        let id = entry?.0.value();
        let Some(bytes) = files.get(id)? else {
            continue;
        };
        // An entry that does not match the file's record was left by one that could not be read.
        let stored = readable(id, bytes.value())
            .filter(|it| matches!(it.record.state, FileState::Failed { .. }));
        found.extend(stored.map(|stored| (FileId(id), stored.record)));
    }
    Ok(found)
}

/// The receipt of an image.
pub(super) fn receipt(
    receipts: &impl ReadableTable<FingerprintKey, RecordBytes>,
    fingerprint: Fingerprint,
) -> Result<Option<Receipt>, QueryError> {
    let Some(bytes) = receipts.get(fingerprint.as_bytes())? else {
        return Ok(None);
    };
    let receipt = record::decode_receipt(fingerprint, bytes.value());
    receipt.map(Some).map_err(|source| QueryError::Record {
        what: format!("the receipt of {fingerprint}"),
        source,
    })
}

/// The shard list of an image; empty if there is none.
pub(super) fn shards(
    shards: &impl ReadableTable<FingerprintKey, RecordBytes>,
    fingerprint: Fingerprint,
) -> Result<RangeSet, QueryError> {
    let Some(bytes) = shards.get(fingerprint.as_bytes())? else {
        return Ok(RangeSet::new());
    };
    let ranges = record::decode_shards(bytes.value());
    ranges.map_err(|source| QueryError::Record {
        what: format!("the shards of {fingerprint}"),
        source,
    })
}

/// The oldest changes in the outbox. One that cannot be read holds up those behind it, because they
/// are only right in their order.
pub(super) fn queued_names(
    names: &impl ReadableTable<u64, RecordBytes>,
    limit: usize,
) -> Result<Vec<(u64, NameChange)>, QueryError> {
    let mut found = Vec::new();
    for entry in names.iter()?.take(limit) {
        let (sequence, bytes) = entry?;
        let sequence = sequence.value();
        let change = record::decode_change(bytes.value()).map_err(|source| QueryError::Record {
            what: format!("name change {sequence}"),
            source,
        })?;
        found.push((sequence, change));
    }
    Ok(found)
}

/// Counts everything, by one pass over the files.
pub(super) fn count_all(transaction: &ReadTransaction) -> Result<Counts, QueryError> {
    let mut counts = Counts {
        names: transaction.open_table(OUTBOX)?.len()?,
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

/// A file's record among many; `None`, with a warning, if it cannot be read: the file will be found
/// in the spool and recorded again.
fn readable(id: u64, bytes: &[u8]) -> Option<StoredFile> {
    match record::decode_file(bytes) {
        Ok(stored) => Some(stored),
        Err(error) => {
            tracing::warn!(file = id, %error, "skipping a record that cannot be read");
            None
        }
    }
}

/// A version that the server has confirmed; `None` for the mark of a name on its way.
pub(super) fn confirmed(version: u64) -> Option<u64> {
    (version != UNCONFIRMED).then_some(version)
}

/// The stored counts, if there are any and they can be true. A program that does not know them
/// changes the other tables and not these; in most cases the lengths of the tables show that.
pub(super) fn stored_counts(transaction: &ReadTransaction) -> Result<Option<Counts>, redb::Error> {
    let counted = transaction.open_table(STORED_COUNTS)?;
    let Some(Ok(tally)) = counted
        .get(COUNTED_FILES_KEY)?
        .map(|bytes| record::decode_tally(bytes.value()))
    else {
        return Ok(None);
    };
    let files = [
        tally.pending,
        tally.backed_up,
        tally.placeholder,
        tally.local,
        tally.failed,
    ]
    .map(|amount| amount.files);
    let all: u64 = files.iter().sum();
    let agrees = transaction.open_table(QUEUE)?.len()? == tally.pending.files
        && transaction.open_table(FAILED)?.len()? == tally.failed.files
        && transaction.open_table(FILES)?.len()? == all;
    let names = transaction.open_table(OUTBOX)?.len()?;
    Ok(agrees.then_some(Counts {
        tally,
        names,
        exactness: Exactness::Exact,
    }))
}
