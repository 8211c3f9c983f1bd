//! Rows: our types in columns and back, and lists of parameters.

use heirloom_protocol::Fingerprint;
use sqlx::Row as _;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

use super::error::IndexError;

/// A query that is being built.
pub(super) type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

/// A count or a length as a column. No image and no library comes near 2^63; what claims to is cut
/// to it.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A whole number that may not be negative.
pub(super) fn count(row: &AnyRow, column: usize) -> Result<u64, IndexError> {
    u64::try_from(integer(row, column)?).map_err(|_| IndexError::Corrupt("count"))
}

pub(super) fn integer(row: &AnyRow, column: usize) -> Result<i64, IndexError> {
    row.try_get(column)
        .map_err(IndexError::statement("read a number of the index"))
}

pub(super) fn text(row: &AnyRow, column: usize) -> Result<String, IndexError> {
    row.try_get(column)
        .map_err(IndexError::statement("read a text of the index"))
}

pub(super) fn bytes(row: &AnyRow, column: usize) -> Result<&[u8], IndexError> {
    row.try_get(column)
        .map_err(IndexError::statement("read bytes of the index"))
}

pub(super) fn fingerprint(row: &AnyRow, column: usize) -> Result<Fingerprint, IndexError> {
    Fingerprint::try_from(bytes(row, column)?).map_err(|_| IndexError::Corrupt("fingerprint"))
}

/// A query for many keys: `head` ends before the list, its one parameter is `first` (mostly the
/// user), the keys follow. Parameters have no numbers here: SQLite would look up each among all.
///
/// The list is filled up to a power of two with its last key, so that the database sees a dozen
/// different statements and keeps them prepared, instead of one for each length.
pub(super) fn among<'q, K>(
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
    let filling = keys.last().into_iter().cycle().take(length - keys.len());
    keys.iter().chain(filling).fold(query, bind)
}

/// A query of our own making: text of ours, and numbers of parameters.
pub(super) fn query<'q>(statement: String) -> AnyQuery<'q> {
    sqlx::query(AssertSqlSafe(statement))
}

/// Rows for one statement each: as many as a power of two, so that the database sees a few
/// different statements and keeps them prepared.
pub(super) fn groups<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1 << rows.len().checked_ilog2()?;
        let (group, rest) = rows.split_at(length);
        rows = rest;
        Some(group)
    })
}

/// What follows `VALUES` for so many rows.
pub(super) fn values(rows: usize, row: impl Fn(usize) -> String) -> String {
    (0..rows).map(row).collect::<Vec<_>>().join(",")
}

/// Binds a fingerprint.
pub(super) fn bind_fingerprint<'q>(query: AnyQuery<'q>, fingerprint: &Fingerprint) -> AnyQuery<'q> {
    query.bind(fingerprint.as_bytes().to_vec())
}

/// A key of ours: random, so that no two servers need to agree on the next one, and below 2^53, so
/// that a program that reads JSON numbers as floating point sees the same one.
pub(super) fn random_id() -> Result<i64, IndexError> {
    let random = getrandom::u64().map_err(IndexError::Random)?;
    Ok(number(random >> 11).max(1))
}
