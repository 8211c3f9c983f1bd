//! Aside: where work goes that nobody stands and waits for. What blocks on the disk leaves the
//! async threads, and whole threads step behind those that serve the mount.

use std::panic;

/// How far a thread steps back (nice(2)): whoever serves a program's write comes first, by a factor
/// of about ten.
const STEP: i32 = 10;

/// Runs `work` on a thread that may block, and waits for it. If this is dropped, the work still
/// ends, unseen.
pub(crate) async fn run_blocking<Work, Output>(work: Work) -> Output
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

/// Puts the calling thread behind those that serve the mount: a copy into the mount is not to feel
/// the upload.
pub(crate) fn lower_priority() {
    // nice(2) is for the calling thread alone on Linux.
    if let Err(error) = rustix::process::nice(STEP) {
        tracing::debug!(%error, "this thread could not step aside");
    }
}
