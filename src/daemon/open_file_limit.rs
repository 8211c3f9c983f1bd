//! Raises the limit of open files (`RLIMIT_NOFILE`) to the hard limit.
//!
//! Every file that a program has open in the mount is open in the daemon too. The usual soft limit
//! of 1,024 exists for programs that still use select(2); the hard limit is the one that the
//! administrator means.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit. If that is refused, the soft limit stays.
pub(super) fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    ) {
        tracing::warn!(%error, limit = limit.current, "cannot raise the limit of open files");
    }
}
