//! Waiting for file work on blocking threads.

use std::io;
use std::path::Path;

use tokio::task::JoinHandle;

use super::super::error::BlobError;

/// The result of file work on `path`. It is an error of its own only if the runtime is shutting
/// down or the work panicked.
pub(super) async fn join<T>(
    work: JoinHandle<Result<T, BlobError>>,
    path: &Path,
) -> Result<T, BlobError> {
    work.await.unwrap_or_else(|stopped| {
        Err(BlobError::io("finish work on", path)(io::Error::other(
            stopped,
        )))
    })
}
