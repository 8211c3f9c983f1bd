//! Passthrough: which open files the kernel reads and writes itself, straight from the spool.
//!
//! The kernel accepts backing files only from a privileged process, so both brokers are tried when
//! the mount starts: this process and the helper. If both are refused, the daemon serves every file.
//!
//! The kernel requires one route for all handles of a file while any is open, and one backing for
//! all handles that it serves. So the first open of a file chooses the route, and the table keeps
//! it.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::backing::Backing;
use super::spare_pool::{SpareFile, SpareFilePool};
use super::write_tracking::WritePath;
use crate::journal::FileId;
use crate::mount::types::IoPath;
use crate::passthrough_helper::BackingBroker;

/// The route of the reads and writes of one open file.
#[derive(Debug)]
pub(in crate::mount) enum IoRoute {
    /// The kernel serves them, through this backing file.
    Kernel(Backing),
    /// This process serves them.
    Daemon,
}

/// The route that the first open of a file prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mount) enum RoutePreference {
    /// The kernel's, where passthrough works.
    Kernel,
    /// The daemon's, because it must see what is read or written.
    Daemon,
}

/// The routes of all open files of a mount, and the files created ahead.
#[derive(Debug, Default)]
pub(in crate::mount) struct PassthroughTable {
    broker: OnceLock<Weak<dyn BackingBroker>>,
    pool: OnceLock<SpareFilePool>,
    routes: Mutex<HashMap<FileId, Weak<IoRoute>>>,
}

impl PassthroughTable {
    /// Passes files to the kernel from now on, as long as `broker` lives.
    pub(in crate::mount) fn enable(&self, broker: &Arc<dyn BackingBroker>) {
        self.broker.get_or_init(|| Arc::downgrade(broker));
    }

    /// Takes new files from `pool` from now on.
    pub(in crate::mount) fn set_pool(&self, pool: SpareFilePool) {
        self.pool.get_or_init(|| pool);
    }

    /// A file created ahead, if one is ready.
    pub(in crate::mount) fn take_spare(&self) -> Option<SpareFile> {
        self.pool.get()?.take()
    }

    /// Puts back a spare file that was not needed.
    pub(in crate::mount) fn return_spare(&self, spare: SpareFile) {
        if let Some(pool) = self.pool.get() {
            pool.put_back(spare);
        }
    }

    pub(in crate::mount) fn io_path(&self) -> IoPath {
        if self.broker.get().is_some() {
            IoPath::Passthrough
        } else {
            IoPath::Direct
        }
    }

    /// The route for one more handle of a file. The preference counts for the first handle only,
    /// and only if the kernel accepts the file.
    pub(in crate::mount) fn route(
        &self,
        id: FileId,
        file: &File,
        preference: RoutePreference,
    ) -> Arc<IoRoute> {
        let Some(broker) = self.broker.get() else {
            return Arc::new(IoRoute::Daemon);
        };
        let mut routes = self.routes.lock();
        if let Some(route) = routes.get(&id).and_then(Weak::upgrade) {
            return route;
        }
        let route = Arc::new(match (preference, broker.upgrade()) {
            (RoutePreference::Kernel, Some(broker)) => Backing::open(file, &broker).map_or_else(
                |error| {
                    tracing::debug!(%error, "the kernel did not accept a backing file");
                    IoRoute::Daemon
                },
                IoRoute::Kernel,
            ),
            (RoutePreference::Kernel | RoutePreference::Daemon, _) => IoRoute::Daemon,
        });
        routes.insert(id, Arc::downgrade(&route));
        route
    }

    /// The route of a spare file, for its first handle.
    pub(in crate::mount) fn route_of_spare(
        &self,
        id: FileId,
        backing: Option<Backing>,
    ) -> Arc<IoRoute> {
        let route = Arc::new(backing.map_or(IoRoute::Daemon, IoRoute::Kernel));
        if self.broker.get().is_some() {
            self.routes.lock().insert(id, Arc::downgrade(&route));
        }
        route
    }

    /// Forgets the route of a file that did not get its name.
    pub(in crate::mount) fn forget(&self, id: FileId) {
        remove_unused(&mut self.routes.lock(), id);
    }

    /// Drops an open file, and its route with the last handle. The file is closed when this
    /// returns, unless another thread still uses it.
    pub(in crate::mount) fn release<F>(&self, id: FileId, open_file: F) {
        if self.broker.get().is_none() {
            return drop(open_file);
        }
        let mut routes = self.routes.lock();
        drop(open_file);
        remove_unused(&mut routes, id);
    }
}

fn remove_unused(routes: &mut HashMap<FileId, Weak<IoRoute>>, id: FileId) {
    if routes
        .get(&id)
        .is_some_and(|route| route.strong_count() == 0)
    {
        routes.remove(&id);
    }
}

impl IoRoute {
    pub(in crate::mount) fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// Which process writes the bytes of a file on this route.
    pub(in crate::mount) fn write_path(&self) -> WritePath {
        match self {
            Self::Kernel(_) => WritePath::Kernel,
            Self::Daemon => WritePath::Daemon,
        }
    }
}
