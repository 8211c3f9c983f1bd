//! Settings and limits of fetching.

use std::time::Duration;

/// Size of the head of a photo: its first bytes, which file managers and `file` read to learn what
/// it is. The head is fetched without the rest, and stays here when the file is evicted.
pub const HEAD_BYTES: u64 = 64 << 10;
/// How long a read waits without progress before it fails, by default.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes in one request. Large enough that a round trip of 50 ms does not matter with several
/// requests in flight, small enough that a reader does not wait long for the one that carries its
/// bytes.
const REQUEST_BYTES: u64 = 1 << 20;
/// Requests in flight for one file.
pub(super) const REQUESTS_PER_FILE_MAX: usize = 4;
/// Requests in flight for all files together: bounds the memory for them to 8 MiB.
pub(super) const REQUESTS_MAX: usize = 8;

/// Settings of fetching.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// How long a read waits without progress before it fails.
    pub read_timeout: Duration,
    /// Size of the head, in bytes: see [`HEAD_BYTES`].
    pub head_bytes: u64,
    /// Bytes in one request.
    pub request_bytes: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            read_timeout: READ_TIMEOUT,
            head_bytes: HEAD_BYTES,
            request_bytes: REQUEST_BYTES,
        }
    }
}
