//! The index: the SQL database of users, tokens, images, who holds them, interrupted uploads and
//! libraries.
//!
//! The SQL is accepted by SQLite and PostgreSQL, through sqlx's `Any` driver; the URL says which of
//! them it is. Every statement except those of expiry and garbage collection touches one user's
//! rows or one image's, and no foreign key ties users to images, so that the rows can be sharded by
//! either.
//!
//! Reads run in parallel on a few connections. Writes are values (see `writer.rs`) sent to one
//! task, which commits everything that is waiting in one transaction. The contract suite is
//! `server/tests/index_contract`.

mod status;
mod library;
mod trash;
mod devices;
mod users;
mod proofs;
mod scrub;
mod corrupt;
mod images;
mod unreferenced;
mod uploads;
mod quota;
mod open;
mod writer;
mod schema;
mod database;
mod sqlite;
mod ranges;
mod row;
mod error;

pub use devices::{DeviceEntry, NewDevice, TokenId, TokenOwner};
pub use error::IndexError;
pub use images::QuarantineOutcome;
pub use open::Index;
pub use quota::QuotaUsage;
pub use scrub::{ScrubCursor, ScrubPosition};
pub use trash::Trash;
pub use unreferenced::UnreferencedStats;
pub use uploads::InterruptedUpload;
pub use users::{UserEntry, UserState};
#[cfg(any(test, fuzzing))]
pub use {ranges::fuzz as fuzz_ranges, scrub::fuzz as fuzz_scrub_cursor};
