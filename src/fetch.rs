//! Fetches the bytes of placeholders when they are read, and evicts local bytes that the server
//! holds.
//!
//! This is the only module where a kernel request waits for the network. Every such wait has a
//! limit, and none of them blocks a thread that answers the kernel: a request that has to wait is
//! passed to this module together with its reply, and the threads serve other requests.
//!
//! A `FileFetch` downloads one file into the placeholder itself, range by range; `planner` decides
//! which range is next. A range that is on the disk is recorded in the placeholder's attribute, so
//! an interrupted fetch continues from there, also after a restart. When all bytes are here, their
//! SHA-256 is computed (`verify`); only if it is the photo's fingerprint does the file become an
//! ordinary one. `OpenFiles` records which files are open: no file is evicted while it is open
//! (`file_evictor`). Files are evicted when a person asks for it or when disk space is short
//! (`evictor`, `cache_limiter`).
//!
//! The modules, from the top layer down; a module names only modules below it:

/// What other modules call.
mod fetcher;
/// Downloads pinned files without a reader.
mod pin_fetcher;
/// Keeps the local cache within its limits.
mod cache_limiter;
/// Limits of the local cache.
mod cache_policy;
/// A size in bytes or a percentage of the disk.
mod size_or_percent;
/// Selects the files to evict.
mod evictor;
/// Asks the server to confirm what it holds.
mod confirmer;
/// Evicts one file.
mod file_evictor;
/// Why a file was not evicted.
mod keep_reason;
/// One open of a file.
mod open_guard;
/// An open file with bytes that are only on the server.
mod open_placeholder;
/// Waits for bytes.
mod fetch_wait;
/// Requests missing ranges from the server.
mod downloader;
/// Compares fetched bytes with the fingerprint.
mod verify;
/// Which files are open, being fetched, or being evicted.
mod open_files;
/// The state of one file's fetch.
mod file_fetch;
/// Which range is requested next.
mod planner;
/// The last error of each file that could not be fetched.
mod recent_errors;
/// Whether a waiting program is being killed.
mod interrupt;
/// Settings and limits.
mod options;
/// Why a fetch failed.
mod error;

pub use cache_policy::CachePolicy;
pub use error::{EvictError, FetchError};
pub use evictor::{EvictOutcome, EvictSelection};
pub use fetcher::{FetchStatus, Fetcher};
pub use interrupt::InterruptProbe;
pub use keep_reason::KeepReason;
pub use open_guard::OpenGuard;
pub use open_placeholder::OpenPlaceholder;
pub use options::{FetchOptions, HEAD_BYTES, READ_TIMEOUT};
pub use size_or_percent::{ParseSizeOrPercentError, SizeOrPercent};

#[cfg(test)]
mod tests;
