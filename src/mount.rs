//! The mounted directory: kernel requests become plain operations on the spool.
//!
//! Three layers, each of which knows only those below it: `fuse` speaks to the kernel through the
//! crate fuser; `fs` is the tree of names, inodes and open files, and knows nothing of FUSE, so
//! that it is tested without a mount; `io` decides for each open file whether the kernel or this
//! process reads and writes it, and tracks which files are being written.
//!
//! No request waits for the network, except those that need bytes which are only on the server:
//! they are deferred (`fuse/deferred.rs`) and answered when the bytes have arrived. The mount knows
//! nothing of uploads: changes are reported to a [`ChangeListener`], in memory, and the kernel has
//! its reply.

mod fuse;
mod mountpoint;
mod cpu_affinity;
mod fs;
mod io;
mod error;
mod listener;
mod types;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::fetch::Fetcher;
use crate::spool::Spool;

pub use error::MountError;
pub use fs::remote_apply::MountedPlaceholders;
pub use listener::ChangeListener;
pub use types::{IoMode, IoPath};

use cpu_affinity::AffinityFollower;
use fs::tree::Tree;
use fuse::session::FuseSession;
use mountpoint::UnmountMode;
use types::RequestObserver;

/// How a mount behaves.
#[derive(Debug)]
pub struct MountOptions {
    /// How reads and writes of open files reach the disk.
    pub io_mode: IoMode,
    /// Fetches the missing bytes of placeholders. Without it placeholders are shown and cannot be
    /// read.
    pub fetch: Option<Fetcher>,
    /// Whether the threads that answer the kernel follow the calling program to its processor.
    #[doc(hidden)]
    pub follow_caller_cpu: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            io_mode: IoMode::Auto,
            fetch: None,
            follow_caller_cpu: true,
        }
    }
}

/// A live mount; dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    io_path: IoPath,
    placeholders: MountedPlaceholders,
    ended: Arc<EndSignal>,
    /// Held during an unmount, which takes seconds after the end if the kernel knows very many
    /// inodes.
    unmounting: Mutex<()>,
}

/// Set once, when the kernel has ended the session.
#[derive(Debug, Default)]
struct EndSignal {
    ended: Mutex<bool>,
    changed: Condvar,
}

/// How long the session may take to end after the kernel has unmounted: what is left to do is in
/// memory.
const END_WAIT_MAX: Duration = Duration::from_secs(5);

impl Mount {
    /// Removes the mount that a crashed daemon left; returns whether there was one.
    pub fn clear_stale(mountpoint: &Path) -> Result<bool, MountError> {
        Ok(mountpoint::clear_stale(mountpoint)? > 0)
    }

    /// Mounts the spool on `mountpoint`; when this returns, the mount can be used.
    ///
    /// A stale mount of a crashed daemon is removed first. Every error says what to do next.
    pub fn start(
        mountpoint: &Path,
        spool: Spool,
        listener: impl ChangeListener,
        options: MountOptions,
    ) -> Result<Self, MountError> {
        let tree = Tree::new(spool, Arc::new(listener), options.fetch)?;
        let observer = options
            .follow_caller_cpu
            .then(|| Box::new(AffinityFollower::default()) as Box<dyn RequestObserver>);
        Self::start_tree(mountpoint, &Arc::new(tree), options.io_mode, observer)
    }

    fn start_tree(
        mountpoint: &Path,
        tree: &Arc<Tree>,
        io_mode: IoMode,
        observer: Option<Box<dyn RequestObserver>>,
    ) -> Result<Self, MountError> {
        let mountpoint = mountpoint::prepare(mountpoint, tree.spool_root())?;
        let start_error = |source| mountpoint::start_error(&mountpoint, source);
        let mut session =
            FuseSession::mount(tree, &mountpoint, io_mode, observer).map_err(start_error)?;
        fs::inode_reclaim::start(tree).map_err(start_error)?;
        session.set_up_passthrough(tree, io_mode);
        let ended = Arc::new(EndSignal::default());
        let (signal, place) = (Arc::clone(&ended), mountpoint.clone());
        std::thread::Builder::new()
            .name("mount".to_owned())
            .spawn(move || {
                match session.run() {
                    Ok(()) => tracing::info!("the mount has ended"),
                    Err(error) => unmount_failed_session(&place, &error),
                }
                signal.set();
            })
            .map_err(start_error)?;
        Ok(Self {
            io_path: tree.io_path(),
            mountpoint,
            placeholders: MountedPlaceholders::new(tree),
            ended,
            unmounting: Mutex::default(),
        })
    }

    /// How reads and writes of open files reach the disk.
    pub fn io_path(&self) -> IoPath {
        self.io_path
    }

    /// Where the library puts the files that other devices added or removed.
    pub fn placeholders(&self) -> MountedPlaceholders {
        self.placeholders.clone()
    }

    /// The absolute path of the mountpoint, without links.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Blocks until the mount has ended (`umount`, `fusermount3 -u`, or [`Self::unmount`]), and
    /// until a call of `unmount` that ended it has returned.
    pub fn wait(&self) {
        let mut ended = self.ended.ended.lock();
        self.ended.changed.wait_while(&mut ended, |ended| !*ended);
        drop(ended);
        drop(self.unmounting.lock());
    }

    /// Unmounts, from any thread.
    ///
    /// Fails with [`MountError::Busy`] while a program has a file open in the mount, or its current
    /// directory.
    pub fn unmount(&self) -> Result<(), MountError> {
        let _unmounting = self.unmounting.lock();
        if self.has_ended() {
            return Ok(());
        }
        mountpoint::unmount(&self.mountpoint, UnmountMode::IfIdle)?;
        let mut ended = self.ended.ended.lock();
        let waited = self
            .ended
            .changed
            .wait_while_for(&mut ended, |ended| !*ended, END_WAIT_MAX);
        if waited.timed_out() {
            // It was unmounted lazily before, and programs still use it.
            return Err(MountError::Busy {
                mountpoint: self.mountpoint.clone(),
                source: std::io::ErrorKind::TimedOut.into(),
            });
        }
        Ok(())
    }

    /// Detaches the mount from its directory at once. It ends (see [`Self::wait`]) when the last
    /// program has closed what it has open in it.
    pub fn unmount_lazily(&self) -> Result<(), MountError> {
        if self.has_ended() {
            return Ok(());
        }
        mountpoint::unmount(&self.mountpoint, UnmountMode::Lazy)
    }

    fn has_ended(&self) -> bool {
        *self.ended.ended.lock()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = self.unmount().or_else(|error| {
            if error.is_transient() {
                self.unmount_lazily()
            } else {
                Err(error)
            }
        });
        if let Err(error) = unmounted {
            tracing::error!(%error, "the mount could not be unmounted");
        }
    }
}

impl EndSignal {
    fn set(&self) {
        *self.ended.lock() = true;
        self.changed.notify_all();
    }
}

/// Detaches a mount whose session failed: without it, every access would fail with "not connected".
fn unmount_failed_session(mountpoint: &Path, error: &std::io::Error) {
    tracing::error!(%error, "the FUSE session failed");
    if let Err(error) = mountpoint::unmount(mountpoint, UnmountMode::Lazy) {
        tracing::error!(%error, "the mount could not be unmounted");
    }
}

#[cfg(test)]
mod tests;
