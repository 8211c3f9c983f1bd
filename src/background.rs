//! Work off the main path: blocking calls from async code, and threads with low priority.

use std::panic;

/// How much the priority of background threads is lowered (nice(2)): threads that serve the mount
/// get about ten times as much processor time.
const NICE_INCREMENT: i32 = 10;

/// Runs `work` on a thread that may block, and waits for its result. If the future is dropped, the
/// work still runs to its end and its result is discarded.
pub(crate) async fn run_blocking<Work, Output>(work: Work) -> Output
where
    Work: FnOnce() -> Output + Send + 'static,
    Output: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // Only while the runtime shuts down: then this future is about to be dropped too.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

/// Lowers the calling thread's priority below that of the threads that serve the mount, so that an
/// upload does not slow a copy into the mount down.
pub(crate) fn lower_priority() {
    // On Linux, nice(2) changes the calling thread alone.
    if let Err(error) = rustix::process::nice(NICE_INCREMENT) {
        tracing::debug!(%error, "cannot lower the priority of this thread");
    }
}
