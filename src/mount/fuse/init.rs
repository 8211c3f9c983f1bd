//! Negotiation with the kernel when the mount starts, and the flags of each open file.

use fuser::{FopenFlags, InitFlags, KernelConfig};

use crate::mount::fs::dir_cache::DirCacheState;
use crate::mount::fs::open_file::OpenFile;
use crate::mount::types::IoMode;
use crate::spool::Access;

/// Background requests (read-ahead and the like) that the kernel may have in flight.
const BACKGROUND_MAX: u16 = 64;

/// Capabilities that are requested; the mount works without any of them.
const WANTED_CAPABILITIES: [InitFlags; 7] = [
    // O_TRUNC comes with open, not as a second request.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // Lookups and listings of one folder at the same time.
    InitFlags::FUSE_PARALLEL_DIROPS,
    // A listing carries the attributes that `ls -l` asks for next; the kernel decides when.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // The mount clears set-user-id itself; else the kernel asks for security.capability before
    // every write.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    // Pages are dropped when size or time differ, which covers a writer that bypasses the cache.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    // The target of a symbolic link never changes.
    InitFlags::FUSE_CACHE_SYMLINKS,
];

/// Requests every capability that makes the mount fast.
pub(super) fn negotiate(config: &mut KernelConfig, io_mode: IoMode) {
    for capability in WANTED_CAPABILITIES {
        if let Err(missing) = config.add_capabilities(capability) {
            tracing::debug!(?missing, "this kernel lacks a capability");
        }
    }
    if io_mode == IoMode::Auto {
        request_passthrough(config);
    }
    if let Err(nearest) = config.set_max_background(BACKGROUND_MAX) {
        tracing::debug!(nearest, "this kernel limits background requests");
    }
}

/// The flags of an open file.
///
/// A file that the kernel serves itself needs no flush before `close` returns: its write state is
/// right without it. (With a flush, the kernel would not cache pages of the file.)
///
/// Otherwise, a write-only file bypasses the page cache: one copy less, and the photo is not in
/// memory twice. A file that is read (or mapped) uses the cache. Handles that can write are flushed
/// at close: from then on the file is complete.
pub(super) fn open_flags(open: &OpenFile) -> FopenFlags {
    if open.route.is_kernel() {
        return FopenFlags::FOPEN_NOFLUSH;
    }
    match open.access {
        Access::Write => FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
        Access::Read => FopenFlags::FOPEN_NOFLUSH,
        Access::ReadWrite => FopenFlags::empty(),
    }
}

/// The flags of an open folder: the kernel caches the listing, and keeps a current one.
pub(super) fn folder_flags(cache: DirCacheState) -> FopenFlags {
    match cache {
        DirCacheState::Outdated => FopenFlags::FOPEN_CACHE_DIR,
        DirCacheState::Current => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
    }
}

/// Requested whether or not it is permitted: only the first backing file shows that.
fn request_passthrough(config: &mut KernelConfig) {
    let requested = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH);
    // The spool's file system is not itself stacked on another.
    if requested.is_err() || config.set_max_stack_depth(1).is_err() {
        tracing::debug!("this kernel has no passthrough");
    }
}
