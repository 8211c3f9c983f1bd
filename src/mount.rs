//! The mounted directory: a thin door (`mount/door.rs`, fuser) from kernel requests to plain
//! operations on the spool (`mount/tree.rs`, testable without a mount).
//!
//! Nothing here waits for the network, but for requests that need bytes which are only on the
//! server: those are put aside (`mount/later.rs`) and answered when the bytes have come. Nothing
//! here knows of uploads: what happened to which file is noted to the room below, in memory, and
//! the kernel has its answer.

mod answer;
mod backing;
mod beside;
mod door;
mod errno;
mod error;
mod ground;
mod handles;
mod inodes;
mod later;
mod listener;
mod listings;
mod manner;
mod marks;
mod parting;
mod passthrough;
mod pool;
mod shape;
mod shelf;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{Config, MountOption, Session};

use crate::fetch::Fetcher;
use crate::passthrough_helper::Lender;
use crate::spool::Spool;

pub use error::MountError;
pub use listener::ChangeListener;
pub use passthrough::{IoMode, IoPath};
pub use shelf::MountedPlaceholders;

use passthrough::Passage;
use pool::{Pool, Spare};

/// How a mount behaves.
#[derive(Debug, Default)]
pub struct MountOptions {
    /// How reads and writes of open files reach the disk.
    pub io_mode: IoMode,
    /// Fetches the missing bytes of placeholders. Without it placeholders are shown and cannot be
    /// read.
    pub fetch: Option<Fetcher>,
}

/// A live mount; dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    io_path: IoPath,
    placeholders: MountedPlaceholders,
    ended: Arc<Ended>,
    /// Held while somebody unmounts: of a tree of which the kernel knows very much, that takes
    /// seconds after the end.
    unmounting: Mutex<()>,
}

/// Set once, when the kernel has let go.
#[derive(Debug, Default)]
struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

/// One thread may wait for a slow sync and one for a large removal while two others answer. More
/// only compete for two cores: a single copy has one request under way at a time.
const EVENT_THREADS: usize = 4;

/// How long the end may take after the kernel has unmounted: what is left to do is in memory.
const END_MAX: Duration = Duration::from_secs(5);

impl Mount {
    /// Removes the mount that a crashed daemon left; answers whether there was one.
    pub fn clear_stale(mountpoint: &Path) -> Result<bool, MountError> {
        Ok(ground::clear_stale(mountpoint)? > 0)
    }

    /// Mounts the spool on `mountpoint`; when this returns, the mount can be used.
    ///
    /// A stale mount of a crashed daemon is removed first. Every refusal says what to do next.
    pub fn start(
        mountpoint: &Path,
        spool: Spool,
        listener: impl ChangeListener,
        options: MountOptions,
    ) -> Result<Self, MountError> {
        let tree = tree::Tree::new(spool, Arc::new(listener))?;
        let tree = match options.fetch {
            Some(fetch) => tree.recalling(fetch),
            None => tree,
        };
        Self::begin(mountpoint, &Arc::new(tree), options.io_mode)
    }

    fn begin(
        mountpoint: &Path,
        tree: &Arc<tree::Tree>,
        choice: IoMode,
    ) -> Result<Self, MountError> {
        let mountpoint = ground::prepare(mountpoint, tree.spool_root())?;
        let (passage, spares) = (tree.passage(), tree.spare_maker());
        let session = Session::new(
            door::Door::new(Arc::clone(tree), choice),
            &mountpoint,
            &options(),
        )
        .map_err(|source| ground::explain(&mountpoint, source))?;
        let placeholders = MountedPlaceholders::new(tree, session.notifier());
        parting::keep_limit(tree, session.notifier()).map_err(|source| MountError::Start {
            mountpoint: mountpoint.clone(),
            source,
        })?;
        let lender = choose_path(&session, choice, &passage, spares);
        let io_path = passage.io_path();
        let ended = Arc::new(Ended::default());
        let (at_end, place) = (Arc::clone(&ended), mountpoint.clone());
        std::thread::Builder::new()
            .name("mount".to_owned())
            .spawn(move || {
                match session.run() {
                    Ok(()) => tracing::info!("the mount has ended"),
                    Err(error) => clear_away(&place, &error),
                }
                drop(lender);
                at_end.set();
            })
            .map_err(|source| MountError::Start {
                mountpoint: mountpoint.clone(),
                source,
            })?;
        Ok(Self {
            mountpoint,
            io_path,
            placeholders,
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

    /// Where it is mounted: absolute, without links.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Returns when the kernel has let go of the mount (umount, `fusermount3 -u`, or `unmount`),
    /// and who asked us to unmount it knows. Blocks.
    pub fn wait(&self) {
        let ended = locked(&self.ended.ended);
        drop(
            self.ended
                .changed
                .wait_while(ended, |ended| !*ended)
                .unwrap_or_else(PoisonError::into_inner),
        );
        drop(locked(&self.unmounting));
    }

    /// Unmounts, from any thread; `Busy` while any program has something open in it or stands in
    /// it.
    pub fn unmount(&self) -> Result<(), MountError> {
        let _unmounting = locked(&self.unmounting);
        if self.has_ended() {
            return Ok(());
        }
        ground::unmount(&self.mountpoint, ground::Unmount::IfIdle)?;
        let ended = locked(&self.ended.ended);
        let waited = self
            .ended
            .changed
            .wait_timeout_while(ended, END_MAX, |ended| !*ended);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            // Somebody took it out of sight before us, and its users are not done.
            return Err(MountError::Busy {
                mountpoint: self.mountpoint.clone(),
                source: io::ErrorKind::TimedOut.into(),
            });
        }
        Ok(())
    }

    /// Takes the mount out of sight at once; it ends (see `wait`) when the last program has closed
    /// what it has open in it.
    pub fn unmount_lazily(&self) -> Result<(), MountError> {
        if self.has_ended() {
            return Ok(());
        }
        ground::unmount(&self.mountpoint, ground::Unmount::OutOfSight)
    }

    fn has_ended(&self) -> bool {
        *locked(&self.ended.ended)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let gone = self.unmount().or_else(|error| {
            if error.is_transient() {
                self.unmount_lazily()
            } else {
                Err(error)
            }
        });
        if let Err(error) = gone {
            tracing::error!(%error, "a mount is left behind");
        }
    }
}

impl Ended {
    fn set(&self) {
        *locked(&self.ended) = true;
        self.changed.notify_all();
    }
}

/// Tries whether the kernel takes a file from us, or through the helper, and begins to make files
/// ahead. All may fail, which costs speed and nothing else.
fn choose_path(
    session: &Session<door::Door>,
    choice: IoMode,
    passage: &Passage,
    make: impl Fn(Option<&Arc<Lender>>) -> io::Result<Spare> + Send + 'static,
) -> Option<Arc<Lender>> {
    let tried = |lender: Lender| {
        let lender = Arc::new(lender);
        make(Some(&lender)).map(|_spare| lender)
    };
    let lender = match choice {
        IoMode::Auto => Lender::by_ourselves(session)
            .and_then(tried)
            .or_else(|_| Lender::by_helper(session).and_then(tried)),
        IoMode::Direct => Err(io::ErrorKind::Unsupported.into()),
    };
    let lender = lender
        .inspect_err(|error| tracing::debug!(%error, "files are not passed through"))
        .ok();
    if let Some(lender) = &lender {
        passage.open(lender, session.notifier());
    }
    let lending = lender.as_ref().map(Arc::downgrade);
    let making = move || {
        let Some(lending) = &lending else {
            return make(None);
        };
        // What cannot be lent now goes through us.
        make(Some(&lending.upgrade().ok_or(io::ErrorKind::BrokenPipe)?)).or_else(|_| make(None))
    };
    match Pool::start(making) {
        Ok(pool) => passage.stock(pool),
        Err(error) => tracing::warn!(%error, "no files are made ahead"),
    }
    lender
}

/// Nobody answers any more: what is left of the mount would only say "not connected".
fn clear_away(mountpoint: &Path, error: &io::Error) {
    tracing::error!(%error, "the mount has ended by an error");
    if let Err(error) = ground::unmount(mountpoint, ground::Unmount::OutOfSight) {
        tracing::error!(%error, "a mount is left behind");
    }
}

fn options() -> Config {
    let mut config = Config::default();
    // Only the owner may enter (the default), so every request is by whoever the spool's disk
    // thinks we are: its own checks of permissions are the right ones, and the kernel need not
    // repeat them (each repeat would cost a request per new file).
    config.mount_options = vec![
        MountOption::FSName("heirloom".to_owned()),
        MountOption::Subtype("heirloom".to_owned()),
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    config.n_threads = Some(EVENT_THREADS);
    config
}

/// Locks, also after a panic: a request that panicked was answered with EIO, and what these locks
/// guard is whole between any two statements that change it or is derived again from the disk.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
