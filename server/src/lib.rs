//! Heirloom's server: stores the photos of all users, each image only once.
//!
//! The modules, from the top layer down; a module names only modules below it (a test reads this
//! list):

/// The server process: accept loop, TLS, background tasks, shutdown.
pub mod serve;
/// The HTTP API: routes, extractors, limits and error responses.
pub mod http;
/// The scrubber: verifies stored images and finds damaged ones.
pub mod scrub;
/// The upload service: receives shards and batches, and verifies and records complete images.
pub mod uploads;
/// The garbage collector: removes images that nothing refers to.
pub mod gc;
/// Proof of possession: nonces, and the verification of proofs.
pub mod possession;
/// User accounts, devices and access tokens.
pub mod accounts;
/// The key that signs receipts.
pub mod signer;
/// The index: users, images, uploads and libraries, in SQL.
pub mod index;
/// Blob storage: the bytes of images and of unfinished uploads.
pub mod blobs;
/// The configuration: the data directory, and the administrator's settings: retention times, rate
/// limits, the schedule of the scrub.
pub mod config;
/// Rate limits per key.
pub mod rate_limit;
/// The range lock: serializes writers of the same bytes.
pub mod range_lock;
/// Metrics: counters of what the server has done.
pub mod metrics;
/// The time of day, which tests can advance.
pub mod clock;
