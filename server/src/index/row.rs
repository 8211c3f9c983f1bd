//! Conversions between our types and columns, and lists of SQL parameters.

use heirloom_protocol::Fingerprint;
use sqlx::Row as _;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

use super::error::IndexError;

/// A query under construction.
pub(super) type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

/// A count or a length as a column. No image and no library comes near 2^63; larger values are
/// clamped to it.
pub(super) fn to_column(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads a number that may not be negative.
pub(super) fn count(row: &AnyRow, column: usize) -> Result<u64, IndexError> {
    u64::try_from(integer(row, column)?).map_err(|_| IndexError::Corrupt("count"))
}

/// Reads a number.
pub(super) fn integer(row: &AnyRow, column: usize) -> Result<i64, IndexError> {
    row.try_get(column)
        .map_err(IndexError::statement("read a number from the index"))
}

/// Reads a text.
pub(super) fn text(row: &AnyRow, column: usize) -> Result<String, IndexError> {
    row.try_get(column)
        .map_err(IndexError::statement("read a text from the index"))
}

/// Reads bytes.
pub(super) fn bytes(row: &AnyRow, column: usize) -> Result<&[u8], IndexError> {
    row.try_get(column)
        .map_err(IndexError::statement("read bytes from the index"))
}

/// Reads a fingerprint.
pub(super) fn fingerprint(row: &AnyRow, column: usize) -> Result<Fingerprint, IndexError> {
    Fingerprint::try_from(bytes(row, column)?).map_err(|_| IndexError::Corrupt("fingerprint"))
}

/// A query with an IN list of keys: `head` ends before the list, its one parameter is `first`
/// (mostly the user), the keys follow. The parameters are not numbered, because SQLite would look
/// up each number among all.
///
/// The list is padded to a power of two with its last key, so that the database sees a dozen
/// different statements and keeps them prepared, instead of one for each length.
pub(super) fn in_list<'q, K>(
    head: &str,
    first: i64,
    keys: &[K],
    bind: fn(AnyQuery<'q>, &K) -> AnyQuery<'q>,
) -> AnyQuery<'q> {
    let length = keys.len().next_power_of_two();
    let mut statement = String::with_capacity(head.len() + 2 * length + 3);
    statement.push_str(head);
    for key in 0..length {
        statement.push_str(if key == 0 { " (?" } else { ",?" });
    }
    statement.push(')');
    let query = query(statement).bind(first);
    let padding = keys.last().into_iter().cycle().take(length - keys.len());
    keys.iter().chain(padding).fold(query, bind)
}

/// A query whose text was built here, from constants and numbers of parameters only.
pub(super) fn query<'q>(statement: String) -> AnyQuery<'q> {
    sqlx::query(AssertSqlSafe(statement))
}

/// Splits rows into one chunk per statement, each as long as a power of two, so that the database
/// sees a few different statements and keeps them prepared.
pub(super) fn power_of_two_chunks<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1 << rows.len().checked_ilog2()?;
        let (chunk, rest) = rows.split_at(length);
        rows = rest;
        Some(chunk)
    })
}

/// The text after `VALUES` for this many rows.
pub(super) fn value_list(rows: usize, row: impl Fn(usize) -> String) -> String {
    (0..rows).map(row).collect::<Vec<_>>().join(",")
}

/// Binds a fingerprint.
pub(super) fn bind_fingerprint<'q>(query: AnyQuery<'q>, fingerprint: &Fingerprint) -> AnyQuery<'q> {
    query.bind(fingerprint.as_bytes().to_vec())
}

/// A new key: random, so that servers need not agree on the next one, and below 2^53, so that
/// programs that read JSON numbers as floating point see the same one.
pub(super) fn random_id() -> Result<i64, IndexError> {
    let random = getrandom::u64().map_err(IndexError::Random)?;
    Ok(to_column(random >> 11).max(1))
}
