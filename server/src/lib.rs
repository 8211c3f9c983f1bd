//! The server: keeps photos, once each, for everybody who owns them.
//!
//! The rooms, in walking order; each names only rooms below it (a test reads this list):

/// The process: listens, drains, sweeps.
pub mod serve;
/// The native dialect: routes, limits, one answer for every error.
pub mod http;
/// Reads stored images again, and finds what is damaged.
pub mod scrub;
/// Puts shards together, verifies, records, answers (M5, M6, M7, M9).
pub mod uploads;
/// Removes what nobody refers to any more.
pub mod gc;
/// Checks proofs that somebody holds an image's bytes (M9).
pub mod possession;
/// Who may ask: users and their tokens.
pub mod accounts;
/// The hand under receipts.
pub mod signer;
/// What is known: users, images, uploads, libraries. SQL.
pub mod index;
/// The bytes of images and of unfinished uploads.
pub mod blobs;
/// The data directory, and what the administrator decided.
pub mod config;
/// How often each may ask.
pub mod rate_limit;
/// Who writes what, one after another.
pub mod range_lock;
/// What has happened, in numbers.
pub mod metrics;
/// What time it is.
pub mod clock;
