//! Aside: where async code sends what blocks on the disk, so that requests never wait behind a file.

use std::panic;

/// Runs `work` on a thread that may block, and waits for it. If this is dropped, the work still ends, unseen.
pub(crate) async fn aside<Work, Output>(work: Work) -> Output
where
    Work: FnOnce() -> Output + Send + 'static,
    Output: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // Only when the runtime is shutting down: nobody waits for what comes after.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
