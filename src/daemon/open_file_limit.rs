//! Open files: as many as the system lets us have.
//!
//! Every file that a program has open in the mount is open here too, and the usual limit (1,024) is
//! made for programs that still use select(2). The administrator's limit is the one that means
//! something.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's limit to the administrator's. If that is refused, the lower one holds.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    ) {
        tracing::warn!(%error, limit = limit.current, "no more files can be open at a time than usual");
    }
}
