//! The tables of the journal's database: names, key and value types.

use redb::{Database, ReadableDatabase as _, TableDefinition, TableHandle as _};

/// Keys by fingerprint.
pub(super) type FingerprintKey = &'static [u8; 32];
/// Encoded records; see `record`.
pub(super) type RecordBytes = &'static [u8];

/// File id -> record of the file.
pub(super) const FILES: TableDefinition<'_, u64, RecordBytes> = TableDefinition::new("files");
/// Position in the queue, ascending by age -> file id.
pub(super) const QUEUE: TableDefinition<'_, u64, u64> = TableDefinition::new("queue");
/// Ids of failed files, so that they are found without reading all records.
pub(super) const FAILED: TableDefinition<'_, u64, ()> = TableDefinition::new("failed");
/// The sync list: fingerprint -> receipt.
pub(super) const RECEIPTS: TableDefinition<'_, FingerprintKey, RecordBytes> =
    TableDefinition::new("receipts");
/// The shard list: fingerprint -> ranges that the server acknowledged.
pub(super) const SHARDS: TableDefinition<'_, FingerprintKey, RecordBytes> =
    TableDefinition::new("shards");
/// The outbox: sequence number -> change of a name.
pub(super) const OUTBOX: TableDefinition<'_, u64, RecordBytes> = TableDefinition::new("names");
/// Library path -> version that the server confirmed for it.
pub(super) const CONFIRMED_VERSIONS: TableDefinition<'_, &'static str, u64> =
    TableDefinition::new("versions");
/// The server and user that the journal is bound to: one entry, [`LIBRARY_KEY`].
pub(super) const SERVER_BINDING: TableDefinition<'_, &'static str, &'static str> =
    TableDefinition::new("bound");
/// Numbers that must not start again from 0: [`NEXT_NAME_KEY`], [`FEED_KEY`].
pub(super) const COUNTERS: TableDefinition<'_, &'static str, u64> =
    TableDefinition::new("counters");
/// Counts over the other tables, so that opening the journal does not read them: one entry,
/// [`COUNTED_FILES_KEY`].
pub(super) const STORED_COUNTS: TableDefinition<'_, &'static str, RecordBytes> =
    TableDefinition::new("counted");

/// Key in [`SERVER_BINDING`]: the library that sync list, versions and outbox are about.
pub(super) const LIBRARY_KEY: &str = "library";
/// Key in [`COUNTERS`]: sequence number of the next change in the outbox. Never used twice: a late
/// confirmation of one change must not take another out of the outbox.
pub(super) const NEXT_NAME_KEY: &str = "next_name";
/// Key in [`COUNTERS`]: position up to which the change feed was followed.
pub(super) const FEED_KEY: &str = "feed";
/// Key in [`STORED_COUNTS`]: counts and sizes of files by state.
pub(super) const COUNTED_FILES_KEY: &str = "files";

/// Version in [`CONFIRMED_VERSIONS`] of a name that is on its way to the library. Confirmed ones
/// begin with 1.
pub(super) const UNCONFIRMED: u64 = 0;

/// Creates the tables that are missing: all of them in a new journal, and in an old one those that
/// were introduced later.
pub(super) fn create_missing_tables(database: &Database) -> Result<(), redb::Error> {
    let present: Vec<_> = database
        .begin_read()?
        .list_tables()?
        .map(|table| table.name().to_owned())
        .collect();
    let names = [
        FILES.name(),
        QUEUE.name(),
        FAILED.name(),
        RECEIPTS.name(),
        SHARDS.name(),
        OUTBOX.name(),
        CONFIRMED_VERSIONS.name(),
        SERVER_BINDING.name(),
        COUNTERS.name(),
        STORED_COUNTS.name(),
    ];
    if names
        .iter()
        .all(|name| present.iter().any(|there| there == name))
    {
        return Ok(());
    }
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(FILES)?;
    transaction.open_table(QUEUE)?;
    transaction.open_table(FAILED)?;
    transaction.open_table(RECEIPTS)?;
    transaction.open_table(SHARDS)?;
    transaction.open_table(OUTBOX)?;
    transaction.open_table(CONFIRMED_VERSIONS)?;
    transaction.open_table(SERVER_BINDING)?;
    transaction.open_table(COUNTERS)?;
    transaction.open_table(STORED_COUNTS)?;
    Ok(transaction.commit()?)
}
