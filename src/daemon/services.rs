//! The services of one mount: started in order, stopped in reverse order.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::ServerChoice;
use super::allocator::fix_mmap_threshold;
use super::embedded::{EmbeddedError, EmbeddedServer};
use super::open_file_limit::raise_open_file_limit;
use super::server_choice::EMBEDDED_NAME_PREFIX;
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

/// Worker threads of the network runtime: one can respond while the other computes.
const NETWORK_THREADS: usize = 2;
/// Limit of threads for blocking disk access from async code: reading shards, computing proofs,
/// committing to the journal.
const BLOCKING_THREADS_MAX: usize = 16;

/// Everything that starting one mount needs.
#[derive(Debug)]
pub struct MountConfig {
    /// The directory to mount.
    pub mountpoint: PathBuf,
    /// The state directory of this mount.
    pub state_dir: StateDir,
    /// The server that keeps the photos.
    pub server: ServerChoice,
    /// Which files are backed up.
    pub accept: Accept,
    /// How files whose bytes are only on the server are downloaded.
    pub fetch: FetchOptions,
    /// The limits of local disk space, which decide when backed-up files are freed.
    pub cache: CachePolicy,
    /// How reads and writes of open files reach the disk.
    pub io: IoMode,
}

/// Why a mount could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The state directory or the registry of mounts cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The spool cannot be opened.
    #[error("cannot open the spool")]
    Spool(#[from] SpoolError),
    /// The journal cannot be opened.
    #[error("cannot open the journal")]
    Journal(#[from] JournalError),
    /// The intake's threads cannot be started.
    #[error("cannot watch the mounted directory for new files")]
    Intake(#[from] IntakeError),
    /// The server's address or certificates cannot be used.
    #[error("cannot connect to the server")]
    Remote(#[from] RemoteError),
    /// The embedded server cannot be started.
    #[error("cannot start the embedded server")]
    Embedded(#[from] EmbeddedError),
    /// The directory cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A call to the operating system failed.
    #[error("cannot {doing}")]
    System {
        /// The step that failed.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// The running services of one mount.
#[derive(Debug)]
pub struct Services {
    // Declared first, dropped first; the other services have ended by then (see `run`).
    runtime: Runtime,
    embedded: Option<EmbeddedServer>,
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
    /// Starts every service. When this returns, the mount is usable. On an error, nothing stays
    /// mounted.
    pub fn start(config: MountConfig) -> Result<Self, ServicesError> {
        let lock = config.state_dir.lock()?;
        fix_mmap_threshold();
        raise_open_file_limit();
        let runtime = network_runtime()?;
        let inside = runtime.enter();
        let (login, embedded, server) = runtime.block_on(open_server(config.server))?;
        let spool = Spool::open(&config.state_dir.spool())?;
        let journal = open_journal(&config.state_dir)?;
        let remote = Remote::new(&login)?;
        let fetcher = Fetcher::start(
            runtime.handle(),
            spool.clone(),
            Arc::clone(&journal),
            remote.clone(),
            config.fetch,
        );
        let library = Library::start(runtime.handle(), Arc::clone(&journal), remote.clone());
        library.set_receipt_key_dir(config.state_dir.clone());
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
            config.accept,
        )?;
        let mount = Mount::start(
            &config.mountpoint,
            spool.clone(),
            intake.clone(),
            MountOptions {
                io_mode: config.io,
                fetch: Some(fetcher.clone()),
                ..MountOptions::default()
            },
        )?;
        let mount = Arc::new(mount);
        fetcher.enforce_cache_policy(config.cache, uploader.watch());
        fetcher.start_fetching_pinned();
        library.follow_feed(spool.clone(), mount.placeholders());
        unmount_on_signals(&mount)?;
        let context = ControlState {
            mountpoint: config.mountpoint.clone(),
            state_dir: config.state_dir.clone(),
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
        let control = ControlServer::start(&config.state_dir.control_socket(), context).map_err(
            |source| ServicesError::System {
                doing: "listen on the control socket",
                source,
            },
        )?;
        Mounts::open()?.record(&config.mountpoint, config.state_dir.root())?;
        tracing::info!(mountpoint = %config.mountpoint.display(), io_path = ?mount.io_path(), "mounted");
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

    /// Waits until the directory is unmounted (by `umount`, [`Mount::unmount`] or a signal), then
    /// stops every service. Files that are not backed up yet stay in spool and journal; their
    /// upload continues at the next start.
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
            tracing::error!(%error, "the journal was not closed cleanly; it is repaired at the next start");
        }
        tracing::info!("stopped");
    }
}

fn network_runtime() -> Result<Runtime, ServicesError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .on_thread_start(lower_priority)
        .enable_all()
        .build()
        .map_err(|source| ServicesError::System {
            doing: "start the network runtime",
            source,
        })
}

/// The login for the server, the embedded server if that is the choice, and the name that `status`
/// shows.
async fn open_server(
    choice: ServerChoice,
) -> Result<(Login, Option<EmbeddedServer>, String), ServicesError> {
    Ok(match choice {
        ServerChoice::Remote(login) => {
            let name = login.server.to_string();
            (login, None, name)
        }
        ServerChoice::Embedded(data) => {
            let (embedded, login) = EmbeddedServer::start(&data).await?;
            let name = format!("{EMBEDDED_NAME_PREFIX}{}", login.server);
            (login, Some(embedded), name)
        }
    })
}

fn open_journal(state: &StateDir) -> Result<Arc<Journal>, ServicesError> {
    let journal = Journal::open(&state.journal())?;
    if journal.was_rebuilt() {
        tracing::warn!(
            "the journal could not be read and was created anew; every file is checked again"
        );
    }
    Ok(Arc::new(journal))
}

/// Unmounts on SIGTERM and SIGINT, even while the mount is busy: open files keep working until they
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
            tracing::info!("unmounting because of a signal");
            match tokio::task::spawn_blocking(move || mount.unmount_lazily()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!(%error, "cannot unmount"),
                Err(error) => tracing::error!(%error, "cannot unmount"),
            }
        }
    });
    Ok(())
}
