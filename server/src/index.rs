//! The index: what is known of users, tokens, images, who holds them, interrupted uploads and
//! libraries.
//!
//! SQL that SQLite and PostgreSQL both accept, through sqlx's `Any` driver; which of them it is
//! follows from the URL. Every statement but those of the two sweeps touches one user's rows or one
//! image's, and no foreign key ties users to images, so that the rows can be spread over machines
//! by either.
//!
//! Reads run side by side on a few connections. Writes are values (see `writer.rs`) that go to one
//! task, which commits whatever is waiting in one transaction. `server/tests/index_contract.rs` is
//! the contract.

use heirloom_protocol::RangeSet;
use heirloom_protocol::message::Scope;
use heirloom_protocol::possession::UserId;

use database::Database;
use writer::Writer;

mod corrupt;
mod database;
mod devices;
mod error;
mod images;
mod library;
mod proofs;
mod quota;
mod ranges;
mod unreferenced;
mod row;
mod schema;
mod scrub;
mod sqlite;
mod status;
mod trash;
mod uploads;
mod users;
mod writer;

pub use devices::{DeviceEntry, NewDevice};
pub use error::IndexError;
pub use images::QuarantineOutcome;
pub use quota::QuotaUsage;
pub use scrub::{ScrubCursor, ScrubPosition};
pub use trash::Trash;
pub use unreferenced::UnreferencedStats;
pub use users::{UserEntry, UserState};
#[cfg(any(test, fuzzing))]
pub use {ranges::fuzz as fuzz_ranges, scrub::fuzz as fuzz_scrub_cursor};

/// The index. Every write is durable when it returns, and may be sent twice. A write whose caller
/// stops waiting is carried out all the same.
#[derive(Clone, Debug)]
pub struct Index {
    database: Database,
    writer: Writer,
}

/// A token's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId(pub i64);

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    /// The token.
    pub token: TokenId,
    /// The account it speaks for.
    pub user: UserId,
    /// The account's name.
    pub name: String,
    /// What the token may do.
    pub scope: Scope,
    /// The most that the account may hold, in bytes.
    pub quota: Option<u64>,
}

/// An entry of the interruption list (M6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptedUpload {
    /// The length that the first shard announced, in bytes.
    pub size: u64,
    /// What has arrived, durably.
    pub received: RangeSet,
}

impl Index {
    /// Opens the index, making it if it is missing. Must run inside a tokio runtime.
    pub async fn open(url: &str) -> Result<Self, IndexError> {
        let database = Database::open(url).await?;
        let writer = Writer::start(database.clone());
        Ok(Self { database, writer })
    }

    /// Finishes the writes that wait, and closes. Whatever is asked afterwards is answered with
    /// `Closed`.
    pub async fn close(&self) {
        self.writer.stop().await;
        self.database.close().await;
    }

    /// How often it was read and written so far.
    #[cfg(test)]
    pub(crate) fn query_counts(&self) -> (u64, u64) {
        (self.database.questions(), self.writer.writes())
    }

    /// 32 random bytes made once for this installation, kept in the index so that every server
    /// process has the same.
    pub async fn secret(&self) -> Result<[u8; 32], IndexError> {
        schema::secret(self.database.reads()).await
    }
}

/// The time by the server's clock, in milliseconds since the epoch.
fn now_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is a broken clock; its times are only ever compared with each other.
    since_epoch.map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}
