//! One mount and everything behind it, from the state directory's lock to the last thread's end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::embedded::{Embedded, EmbeddedError, NAMED};
use super::{allocator, open_file_limit};
use crate::background::lower_priority;
use crate::config::{Accept, ConfigError, Login, Mounts, StateDir, StateLock};
use crate::control::{ControlServer, ControlState};
use crate::fetch::{CachePolicy, FetchOptions, Fetcher};
use crate::intake::{Intake, IntakeError};
use crate::journal::{Journal, JournalError};
use crate::library::Library;
use crate::mount::{IoMode, Mount, MountError, MountOptions};
use crate::remote::{Remote, RemoteError};
use crate::spool::{Spool, SpoolError};
use crate::uploader::Uploader;

/// Threads for the network side: one to answer while the other computes.
const NETWORK_THREADS: usize = 2;
/// Threads that async code may block on the disk with, at most: shards being read, proofs, journal
/// commits.
const BLOCKING_THREADS_MAX: usize = 16;

/// What to start.
#[derive(Debug)]
pub struct MountConfig {
    /// Where to mount.
    pub mountpoint: PathBuf,
    /// Everything of this mount.
    pub state: StateDir,
    /// Which server.
    pub server: ServerChoice,
    /// Which files are backed up.
    pub accept: Accept,
    /// How what is only on the server is fetched.
    pub manner: FetchOptions,
    /// How much of the disk is kept free of what the server has.
    pub keeping: CachePolicy,
    /// How reads and writes of open files may reach the disk.
    pub io: IoMode,
}

/// Which server keeps the photos.
#[derive(Debug)]
pub enum ServerChoice {
    /// One that somebody runs.
    At(Login),
    /// Our own, in this process, with its data in this directory.
    Embedded(PathBuf),
}

/// What keeps the house from standing.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The state directory is not to be had.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The spool cannot be opened.
    #[error("cannot use the spool")]
    Spool(#[from] SpoolError),
    /// The journal cannot be opened.
    #[error("cannot open the journal")]
    Journal(#[from] JournalError),
    /// The intake's threads do not start.
    #[error("cannot watch the spool")]
    Intake(#[from] IntakeError),
    /// The server's address or certificates cannot be used.
    #[error("cannot speak to the server")]
    Remote(#[from] RemoteError),
    /// The embedded server does not start.
    #[error("cannot start the embedded server")]
    Embedded(#[from] EmbeddedError),
    /// The directory cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The operating system refuses something small.
    #[error("cannot {doing}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A house that stands: mounted, backing up, answering.
#[derive(Debug)]
pub struct Services {
    // Dropped last: the rooms above need it to end.
    runtime: Runtime,
    embedded: Option<Embedded>,
    library: Library,
    uploader: Uploader,
    fetcher: Fetcher,
    intake: Intake,
    journal: Arc<Journal>,
    mount: Arc<Mount>,
    control: ControlServer,
    _lock: StateLock,
}

impl Services {
    /// Starts every room. When this returns, the mount is usable. On an error nothing is left
    /// mounted.
    pub fn start(plan: MountConfig) -> Result<Self, ServicesError> {
        let lock = plan.state.lock()?;
        allocator::return_large_buffers();
        open_file_limit::raise();
        let runtime = network_threads()?;
        let inside = runtime.enter();
        let (login, embedded, server) = runtime.block_on(open_server(plan.server))?;
        let spool = Spool::open(&plan.state.spool())?;
        let journal = open_journal(&plan.state)?;
        let remote = Remote::new(&login)?;
        let fetcher = Fetcher::start(
            runtime.handle(),
            spool.clone(),
            Arc::clone(&journal),
            remote.clone(),
            plan.manner,
        );
        let library = Library::start(runtime.handle(), Arc::clone(&journal), remote.clone());
        library.set_receipt_key_dir(plan.state.clone());
        let uploader = Uploader::start(
            runtime.handle(),
            spool.clone(),
            Arc::clone(&journal),
            library.clone(),
            remote.clone(),
        );
        let intake = Intake::start(
            spool.clone(),
            Arc::clone(&journal),
            library.clone(),
            uploader.clone(),
            plan.accept,
        )?;
        let mount = Mount::start(
            &plan.mountpoint,
            spool.clone(),
            intake.clone(),
            MountOptions {
                io_mode: plan.io,
                fetch: Some(fetcher.clone()),
            },
        )?;
        let mount = Arc::new(mount);
        fetcher.enforce_cache_policy(plan.keeping, uploader.watch());
        fetcher.start_fetching_pinned();
        library.follow_feed(spool.clone(), mount.placeholders());
        unmount_on_signals(&mount)?;
        let context = ControlState {
            mountpoint: plan.mountpoint.clone(),
            state: plan.state.clone(),
            server,
            spool,
            journal: Arc::clone(&journal),
            intake: intake.clone(),
            uploader: uploader.clone(),
            library: library.clone(),
            fetcher: fetcher.clone(),
            remote,
            mount: Arc::clone(&mount),
        };
        let control =
            ControlServer::start(&plan.state.control_socket(), context).map_err(|source| {
                ServicesError::System {
                    doing: "listen on the control socket",
                    source,
                }
            })?;
        Mounts::open()?.record(&plan.mountpoint, plan.state.root())?;
        tracing::info!(mountpoint = %plan.mountpoint.display(), io_path = ?mount.io_path(), "mounted");
        drop(inside);
        Ok(Self {
            runtime,
            embedded,
            library,
            uploader,
            fetcher,
            intake,
            journal,
            mount,
            control,
            _lock: lock,
        })
    }

    /// Returns when the mount is gone and every room has stopped: by `umount`, by
    /// [`Mount::unmount`], by a signal. What is not backed up yet stays in spool and journal and
    /// goes on at the next start.
    pub fn run(self) {
        self.mount.wait();
        tracing::info!("unmounted, stopping");
        self.fetcher.stop();
        self.intake.stop();
        self.runtime.block_on(async {
            self.control.stop().await;
            self.uploader.stop().await;
            self.library.stop().await;
            if let Some(embedded) = self.embedded {
                embedded.stop().await;
            }
        });
        if let Err(error) = self.journal.close() {
            tracing::error!(%error, "the journal did not close cleanly; it will be repaired at the next start");
        }
        tracing::info!("stopped");
    }
}

fn network_threads() -> Result<Runtime, ServicesError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .on_thread_start(lower_priority)
        .enable_all()
        .build()
        .map_err(|source| ServicesError::System {
            doing: "start the network threads",
            source,
        })
}

/// How to speak to the server, our own server if that is it, and what to call it.
async fn open_server(
    choice: ServerChoice,
) -> Result<(Login, Option<Embedded>, String), ServicesError> {
    Ok(match choice {
        ServerChoice::At(login) => {
            let name = login.server.to_string();
            (login, None, name)
        }
        ServerChoice::Embedded(data) => {
            let (embedded, login) = Embedded::start(&data).await?;
            let name = format!("{NAMED}{}", login.server);
            (login, Some(embedded), name)
        }
    })
}

fn open_journal(state: &StateDir) -> Result<Arc<Journal>, ServicesError> {
    let journal = Journal::open(&state.journal())?;
    if journal.was_rebuilt() {
        tracing::warn!(
            "the journal could not be read and was begun anew; every file is looked at again"
        );
    }
    Ok(Arc::new(journal))
}

/// SIGTERM and SIGINT take the mount away, also when it is busy: open files keep working until they
/// are closed.
fn unmount_on_signals(mount: &Arc<Mount>) -> Result<(), ServicesError> {
    let mount = Arc::downgrade(mount);
    let system = |source| ServicesError::System {
        doing: "wait for signals",
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            let Some(mount) = mount.upgrade() else { return };
            tracing::info!("asked to stop by a signal");
            match tokio::task::spawn_blocking(move || mount.unmount_lazily()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!(%error, "cannot unmount"),
                Err(error) => tracing::error!(%error, "cannot unmount"),
            }
        }
    });
    Ok(())
}
