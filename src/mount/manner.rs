//! Manners: what we agree on with the kernel when the mount starts, and how it serves each open
//! file.

use fuser::{FopenFlags, InitFlags, KernelConfig};

use super::handles::OpenFile;
use super::listings::KernelsList;
use super::passthrough::IoMode;
use crate::spool::Access;

/// Requests that the kernel may have under way for read-ahead and the like.
const BACKGROUND_MAX: u16 = 64;

/// What we ask of the kernel, if it can.
const WISHES: [InitFlags; 7] = [
    // O_TRUNC comes with open, not as a second request.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // Lookups and listings of one folder at the same time.
    InitFlags::FUSE_PARALLEL_DIROPS,
    // A listing tells what `ls -l` asks next; only if it looks as if somebody would ask.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // We take set-user-id off ourselves; else the kernel asks for security.capability before every
    // write.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    // Pages are dropped when size or time differ, which covers a writer that goes past the cache.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    // A link's target never changes.
    InitFlags::FUSE_CACHE_SYMLINKS,
];

/// Asks the kernel for all that makes the mount fast. What it cannot do, we do without.
pub(super) fn agree(config: &mut KernelConfig, choice: IoMode) {
    for wish in WISHES {
        if let Err(missing) = config.add_capabilities(wish) {
            tracing::debug!(?missing, "this kernel cannot do everything");
        }
    }
    if choice == IoMode::Auto {
        ask_for_passthrough(config);
    }
    if let Err(nearest) = config.set_max_background(BACKGROUND_MAX) {
        tracing::debug!(nearest, "this kernel limits background requests");
    }
}

/// How the kernel serves an open file.
///
/// What it reads and writes without us, it need not tell us the end of before `close` returns: the
/// file's mark holds without. (It would refuse to keep pages of such a file.)
///
/// Else a file that is only written goes past the page cache: one copy less, and the photo is not
/// kept in memory twice. One that is read (or mapped) uses the cache. Who could write is asked to
/// flush at close: the file is whole from then on.
pub(super) fn manner(open: &OpenFile) -> FopenFlags {
    if open.way.is_the_kernels() {
        return FopenFlags::FOPEN_NOFLUSH;
    }
    match open.access {
        Access::Write => FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
        Access::Read => FopenFlags::FOPEN_NOFLUSH,
        Access::ReadWrite => FopenFlags::empty(),
    }
}

/// How the kernel lists an open folder: it keeps the list, and uses the one that it has.
pub(super) fn listing(list: KernelsList) -> FopenFlags {
    match list {
        KernelsList::Outdated => FopenFlags::FOPEN_CACHE_DIR,
        KernelsList::Current => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
    }
}

/// Asked for whether we may use it or not: only the first file will tell.
fn ask_for_passthrough(config: &mut KernelConfig) {
    let asked = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH);
    // The spool's disk is an ordinary one: nothing is stacked below it.
    if asked.is_err() || config.set_max_stack_depth(1).is_err() {
        tracing::debug!("this kernel cannot pass files through");
    }
}
