//! The server process: opens the data directory, accepts connections, runs the background tasks,
//! and shuts down in order.

mod accept_loop;
mod connection;
mod connection_limit;
mod http1_guard;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use heirloom_support::loopback::is_loopback;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::accounts::{AccountError, Accounts};
use crate::blobs::{BlobError, BlobStore, LocalBlobStore};
use crate::clock::Clock;
use crate::config::{Config, GracePeriods, Transport};
use crate::gc::GarbageCollector;
use crate::http::{self, AppState, AuthLimits, ChangeNotifier, InstallationId, TrashRetention};
use crate::index::{Index, IndexError};
use crate::metrics::SharedCounters;
use crate::possession::Possession;
use crate::scrub::Scrubber;
use crate::signer::{Signer, SignerError};
use crate::uploads::{Retention, UploadError, UploadService};

use tls::ReloadableTls;

#[cfg(any(test, fuzzing))]
pub use http1_guard::fuzz as fuzz_heads;
pub use tls::TlsError;

/// Interval at which expired uploads and trash are removed. They expire after days, so that an hour
/// more does not matter.
const MAINTENANCE_INTERVAL: Duration = Duration::from_hours(1);

/// Number of prefixes searched for orphaned images per interval: all 256 of them in 16 hours.
const ORPHAN_PREFIXES: usize = 16;

/// Context string of the key derivation for the installation id (BLAKE3 paper, section 6.2).
const INSTALLATION_CONTEXT: &str = "heirloom installation 1";

/// A running server. Dropping it does not stop it; [`Server::stop`] does.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accounts: Accounts,
    uploads: UploadService,
    index: Index,
    tls: Option<ReloadableTls>,
    stopping: CancellationToken,
    accepting: JoinHandle<()>,
    maintenance: JoinHandle<()>,
    scrubbing: JoinHandle<()>,
}

/// Why a server could not start, or not shut down in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The index could not be opened or read.
    #[error("cannot open the index")]
    Index(#[source] IndexError),
    /// The image store could not be opened.
    #[error("cannot open the image store")]
    Blobs(#[source] BlobError),
    /// The signing key could not be read or created.
    #[error("cannot open the signing key for receipts")]
    Signer(#[source] SignerError),
    /// What an unclean shutdown left behind could not be reconciled.
    #[error("cannot clean up after an unclean shutdown")]
    Reconcile(#[source] UploadError),
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Plain HTTP on an address that other machines can reach.
    #[error("refusing to listen on {address} without encryption: other machines can reach it")]
    Unencrypted {
        /// The address.
        address: SocketAddr,
    },
    /// The certificate cannot be used.
    #[error("cannot set up TLS")]
    Tls(#[source] TlsError),
    /// A user or token could not be created.
    #[error("cannot create a login")]
    Account(#[source] AccountError),
    /// A task of the server panicked.
    #[error("a task of the server failed")]
    TaskFailed(#[source] tokio::task::JoinError),
}

impl ServeError {
    /// What the administrator can do about the error.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Index(_) | Self::Blobs(_) | Self::Signer(_) | Self::Reconcile(_) => {
                "check that this account owns the data directory, and that its disk is not full"
            }
            Self::Listen { .. } => {
                "stop the program that uses this address, or choose another one with --listen"
            }
            Self::Unencrypted { .. } => {
                "pass --tls-cert and --tls-key, or listen on 127.0.0.1 behind a TLS proxy; \
                 --insecure-http sends passwords and photos unencrypted"
            }
            Self::Tls(_) => {
                "check the files given with --tls-cert and --tls-key: \
                 PEM, the server's own certificate first"
            }
            Self::Account(_) => "try again; another process may be using the data directory",
            Self::TaskFailed(_) => "see the log for the cause; stored photos are not affected",
        }
    }
}

impl Server {
    /// Starts a server. Once this returns, the socket accepts connections. Must run inside a tokio
    /// runtime.
    pub async fn start(config: Config, listen: SocketAddr) -> Result<Self, ServeError> {
        Self::start_with(config, listen, Clock::default()).await
    }

    /// Starts a server with another clock than the machine's.
    pub async fn start_with(
        config: Config,
        listen: SocketAddr,
        clock: Clock,
    ) -> Result<Self, ServeError> {
        require_encryption(&config.transport, listen)?;
        let tls = load_tls(&config.transport).await?;
        let Components {
            state,
            scrubber,
            gc,
        } = open_components(&config, clock).await?;
        state
            .uploads
            .reconcile()
            .await
            .map_err(ServeError::Reconcile)?;
        let maintenance = Maintenance {
            uploads: state.uploads.clone(),
            gc,
            retention: Retention {
                upload: config.upload_expiry,
                trash: config.trash_expiry,
            },
            grace_periods: config.grace_periods,
        };
        maintenance.expire().await;
        let listener = bind(listen).await?;
        let address = listener.local_addr().map_err(|source| ServeError::Listen {
            address: listen,
            source,
        })?;
        let (accounts, uploads, index) = (
            state.accounts.clone(),
            state.uploads.clone(),
            state.index.clone(),
        );
        let stopping = state.stopping.clone();
        let notifier = state.notifier.clone();
        let on_damage = move || notifier.notify_all();
        let scrubbing = tokio::spawn(scrubber.run(
            config.scrub,
            state.clock.clone(),
            on_damage,
            stopping.clone(),
        ));
        let maintenance_task = tokio::spawn(maintenance.run(stopping.clone()));
        let accepting = tokio::spawn(accept_loop::run(
            listener,
            tls.clone(),
            http::router(state),
            stopping.clone(),
        ));
        tracing::info!(
            %address,
            data = %config.data.root().display(),
            encrypted = tls.is_some(),
            "listening"
        );
        Ok(Self {
            address,
            accounts,
            uploads,
            index,
            tls,
            stopping,
            accepting,
            maintenance: maintenance_task,
            scrubbing,
        })
    }

    /// The address the server listens on, with the actual port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's URL, `http://...` or `https://...`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Reloads the certificate and its key for new connections. After an error the old ones stay in
    /// use.
    pub async fn reload_certificate(&self) -> Result<(), ServeError> {
        match &self.tls {
            Some(tls) => tls.reload().await.map_err(ServeError::Tls),
            None => Ok(()),
        }
    }

    /// Creates a token for `user`, and the user if necessary. For the embedded server.
    pub async fn token_for(&self, user: &str) -> Result<String, ServeError> {
        match self.accounts.add_token(user).await {
            Err(AccountError::NoSuchUser(_)) => self
                .accounts
                .add_user(user)
                .await
                .map_err(ServeError::Account),
            other => other.map_err(ServeError::Account),
        }
    }

    /// Stops the server: no new connections, requests in progress may finish for a limited time,
    /// and the index is closed.
    pub async fn stop(self) -> Result<(), ServeError> {
        self.stopping.cancel();
        let accepting = self.accepting.await;
        let background = self.maintenance.await.and(self.scrubbing.await);
        self.uploads.drain().await;
        self.index.close().await;
        tracing::info!("stopped");
        accepting.and(background).map_err(ServeError::TaskFailed)
    }
}

/// Rejects unencrypted connections over a network unless the administrator allowed them.
fn require_encryption(transport: &Transport, address: SocketAddr) -> Result<(), ServeError> {
    let open = !is_loopback(address.ip());
    match transport {
        Transport::PlainOnLoopback if open => return Err(ServeError::Unencrypted { address }),
        Transport::PlainAnywhere if open => {
            tracing::warn!(
                %address,
                "listening without encryption; passwords and photos can be read on the network"
            );
        }
        Transport::PlainOnLoopback | Transport::PlainAnywhere | Transport::Tls(_) => {}
    }
    Ok(())
}

async fn load_tls(transport: &Transport) -> Result<Option<ReloadableTls>, ServeError> {
    match transport {
        Transport::PlainOnLoopback | Transport::PlainAnywhere => Ok(None),
        Transport::Tls(files) => ReloadableTls::load(files.clone())
            .await
            .map(Some)
            .map_err(ServeError::Tls),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

/// The parts of a server: the state of its routes, and its background tasks.
struct Components {
    state: AppState,
    scrubber: Scrubber,
    gc: GarbageCollector,
}

/// Opens all layers, from the bottom up.
async fn open_components(config: &Config, clock: Clock) -> Result<Components, ServeError> {
    let index = Index::open(&config.data.index_url())
        .await
        .map_err(ServeError::Index)?;
    let secret = index.secret().await.map_err(ServeError::Index)?;
    let blobs: Arc<dyn BlobStore> = Arc::new(
        LocalBlobStore::open(&config.data)
            .await
            .map_err(ServeError::Blobs)?,
    );
    let data = config.data.clone();
    let signer = spawn_blocking(move || Signer::open(&data))
        .await
        .map_err(ServeError::TaskFailed)?;
    let signer = signer.map_err(ServeError::Signer)?;
    let counters = SharedCounters::default();
    let possession = Possession::new(
        config.cross_user,
        secret,
        index.clone(),
        Arc::clone(&blobs),
        clock.clone(),
        Arc::clone(&counters),
    );
    let scrubber = Scrubber::new(index.clone(), Arc::clone(&blobs), Arc::clone(&counters));
    let gc = GarbageCollector::new(
        index.clone(),
        Arc::clone(&blobs),
        clock.clone(),
        Arc::clone(&counters),
    );
    let uploads = UploadService::new(
        index.clone(),
        blobs,
        possession.clone(),
        gc.clone(),
        clock.clone(),
        Arc::clone(&counters),
    );
    let state = AppState {
        accounts: Accounts::new(index.clone()),
        uploads,
        possession,
        index,
        notifier: ChangeNotifier::default(),
        clock,
        stopping: CancellationToken::new(),
        installation: installation_id(&secret),
        trash_retention: TrashRetention(config.trash_expiry),
        scrubber: scrubber.clone(),
        signer,
        auth_limits: AuthLimits::new(config.rates, Arc::clone(&counters)),
        counters,
    };
    Ok(Components {
        state,
        scrubber,
        gc,
    })
}

fn installation_id(secret: &[u8; 32]) -> InstallationId {
    let id = blake3::derive_key(INSTALLATION_CONTEXT, secret);
    InstallationId(HEXLOWER.encode(&id[..16]).into())
}

/// The background task that removes expired data. After an error the next round tries again.
struct Maintenance {
    uploads: UploadService,
    gc: GarbageCollector,
    retention: Retention,
    grace_periods: GracePeriods,
}

impl Maintenance {
    async fn run(self, stopping: CancellationToken) {
        let mut rounds = interval_at(Instant::now() + MAINTENANCE_INTERVAL, MAINTENANCE_INTERVAL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.collect_garbage() => {}
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = rounds.tick() => self.expire().await,
            }
        }
    }

    /// Removes unreferenced and orphaned images. May be dropped at any await point.
    async fn collect_garbage(&self) {
        if let Err(error) = self
            .gc
            .collect_unreferenced(self.grace_periods.unreferenced)
            .await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot remove unreferenced images; trying again later"
            );
        }
        if let Err(error) = self
            .gc
            .collect_some_orphans(self.grace_periods.orphaned, ORPHAN_PREFIXES)
            .await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot remove orphaned images; trying again later"
            );
        }
    }

    async fn expire(&self) {
        if let Err(error) = self.uploads.expire(self.retention).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot remove expired uploads and trash; trying again later"
            );
        }
    }
}
