//! The FUSE session of one mount: starts it, sets up passthrough, and runs it to its end.

use std::io;
use std::path::Path;
use std::sync::Arc;

use fuser::{Config, MountOption, Session};

use super::adapter::FuseFs;
use super::invalidate::KernelInvalidator;
use crate::mount::fs::tree::Tree;
use crate::mount::io::spare_pool::SpareFilePool;
use crate::mount::types::{IoMode, RequestObserver};
use crate::passthrough_helper::{BackingBroker, BrokerClient, DirectBroker};

/// Threads that answer the kernel. One may wait for a slow sync and one for a large removal while
/// two others answer; a single copy has one request in flight at a time, so more threads would only
/// compete for the processors.
const EVENT_THREADS: usize = 4;

/// A mounted FUSE session that has not answered a request yet.
pub(in crate::mount) struct FuseSession {
    session: Session<FuseFs>,
    /// Owned here and nowhere else: it holds the mount's device open, so it must go when the
    /// session ends.
    broker: Option<Arc<dyn BackingBroker>>,
}

impl FuseSession {
    /// Mounts the tree, and gives it the means to invalidate the kernel's caches.
    pub(in crate::mount) fn mount(
        tree: &Arc<Tree>,
        mountpoint: &Path,
        io_mode: IoMode,
        observer: Option<Box<dyn RequestObserver>>,
    ) -> io::Result<Self> {
        let fs = FuseFs::new(Arc::clone(tree), io_mode, observer);
        let session = Session::new(fs, mountpoint, &config())?;
        tree.set_invalidator(Arc::new(KernelInvalidator::new(session.notifier())));
        Ok(Self {
            session,
            broker: None,
        })
    }

    /// Finds out whether the kernel accepts backing files from this process or through the helper,
    /// and starts to create files ahead. Each may fail, which costs speed and nothing else.
    pub(in crate::mount) fn set_up_passthrough(&mut self, tree: &Arc<Tree>, io_mode: IoMode) {
        let make = tree.spare_file_maker();
        let broker = match io_mode {
            IoMode::Auto => self.find_broker(|broker| make(Some(broker)).map(drop)),
            IoMode::Direct => Err(io::ErrorKind::Unsupported.into()),
        };
        self.broker = broker
            .inspect_err(|error| tracing::debug!(%error, "passthrough is not available"))
            .ok();
        if let Some(broker) = &self.broker {
            tree.passthrough().enable(broker);
        }
        let broker = self.broker.as_ref().map(Arc::downgrade);
        let make = move || {
            let Some(broker) = &broker else {
                return make(None);
            };
            let broker = broker.upgrade().ok_or(io::ErrorKind::BrokenPipe)?;
            // Without a backing, the daemon serves the file.
            make(Some(&broker)).or_else(|_| make(None))
        };
        match SpareFilePool::start(make) {
            Ok(pool) => tree.passthrough().set_pool(pool),
            Err(error) => tracing::warn!(%error, "no files are created ahead"),
        }
    }

    /// The first broker that `accepts` a file: only that shows whether the kernel permits it.
    fn find_broker(
        &self,
        accepts: impl Fn(&Arc<dyn BackingBroker>) -> io::Result<()>,
    ) -> io::Result<Arc<dyn BackingBroker>> {
        let direct: Arc<dyn BackingBroker> = Arc::new(DirectBroker::new(&self.session)?);
        if accepts(&direct).is_ok() {
            return Ok(direct);
        }
        let client: Arc<dyn BackingBroker> = Arc::new(BrokerClient::new(&self.session)?);
        accepts(&client).map(|()| client)
    }

    /// Answers requests until the mount ends.
    pub(in crate::mount) fn run(self) -> io::Result<()> {
        let ended = self.session.run();
        drop(self.broker);
        ended
    }
}

fn config() -> Config {
    let mut config = Config::default();
    // Only the owner may enter (the default), so every request comes from the user that the spool's
    // disk sees in us: the disk's permission checks are the right ones, and the kernel need not
    // repeat them (each repetition would cost a request per new file).
    config.mount_options = vec![
        MountOption::FSName("heirloom".to_owned()),
        MountOption::Subtype("heirloom".to_owned()),
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    config.n_threads = Some(EVENT_THREADS);
    config
}
