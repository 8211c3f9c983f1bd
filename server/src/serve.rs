//! The process: opens the house, listens, sweeps, and closes in order.
//!
//! The accept loop is our own, on hyper-util, because the obvious one sets no time limits: a client
//! that sends half a header would be waited for for ever.

mod connection;
mod crowd;
mod gate;
mod listening;
mod shield;

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
use crate::blobs::{BlobError, Blobs, LocalBlobs};
use crate::clock::Clock;
use crate::config::{Config, Graces, Transport};
use crate::gc::GarbageCollector;
use crate::http::{self, Door, Installation, News, Restraint, TrashExpiry};
use crate::index::{Index, IndexError};
use crate::metrics::SharedCounters;
use crate::possession::Possession;
use crate::scrub::Scrubber;
use crate::signer::{Signer, SignerError};
use crate::uploads::{Retention, UploadError, UploadService};

use shield::Shield;

#[cfg(any(test, fuzzing))]
pub use gate::trial as heads_trial;
pub use shield::ShieldError;

/// How often expired uploads and trash are looked for. Their expiries are days; an hour more is
/// nothing.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Sections looked through for strays in one sweep: all of them in 16 hours.
const STRAY_SECTIONS: usize = 16;

/// Names the purpose of what is derived from the secret (BLAKE3 section 6.2).
const INSTALLATION_CONTEXT: &str = "heirloom installation 1";

/// A server that listens. Dropping it does not stop it; `stop` does.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accounts: Accounts,
    assembly: UploadService,
    index: Index,
    shield: Option<Shield>,
    stopping: CancellationToken,
    listening: JoinHandle<()>,
    sweeping: JoinHandle<()>,
    scrubbing: JoinHandle<()>,
}

/// What keeps a server from starting, or from closing in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The index could not be opened or read.
    #[error("open the index")]
    Index(#[source] IndexError),
    /// The images could not be opened.
    #[error("open the stored images")]
    Blobs(#[source] BlobError),
    /// Receipts could not be signed.
    #[error("find the secret that receipts are signed with")]
    Signer(#[source] SignerError),
    /// What a stop in the middle left could not be cleared.
    #[error("clear what an earlier stop left behind")]
    Reconcile(#[source] UploadError),
    /// The address is taken, or not ours.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Others could listen on the way.
    #[error("{address} can be reached from other machines, and nothing is encrypted")]
    Unencrypted {
        /// Where.
        address: SocketAddr,
    },
    /// The certificate cannot be used.
    #[error("prepare for TLS")]
    Tls(#[source] ShieldError),
    /// A user or token could not be made.
    #[error("make a login")]
    Account(#[source] AccountError),
    /// A part of the server ended in a panic.
    #[error("stop the server")]
    Stop(#[source] tokio::task::JoinError),
}

impl ServeError {
    /// What the administrator can do about it.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Index(_) | Self::Blobs(_) | Self::Signer(_) | Self::Reconcile(_) => {
                "check that the data directory belongs to this account and that its disk has room"
            }
            Self::Listen { .. } => {
                "end what listens there, or choose another address with --listen"
            }
            Self::Unencrypted { .. } => {
                "give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a TLS proxy, or accept it with --insecure-http"
            }
            Self::Tls(_) => {
                "check the files of --tls-cert and --tls-key: PEM, the server's certificate first"
            }
            Self::Account(_) => "try again; the data directory may be busy",
            Self::Stop(_) => "look into the log; the stored photos are not affected",
        }
    }
}

impl Server {
    /// Opens the data directory and listens; the socket accepts when this returns. Must run inside
    /// a tokio runtime.
    pub async fn start(config: Config, listen: SocketAddr) -> Result<Self, ServeError> {
        Self::start_with(config, listen, Clock::default()).await
    }

    /// The same, by another clock than the machine's.
    pub async fn start_with(
        config: Config,
        listen: SocketAddr,
        clock: Clock,
    ) -> Result<Self, ServeError> {
        refuse_listeners(&config.transport, listen)?;
        let shield = raise_shield(&config.transport).await?;
        let Opened {
            door,
            scrub,
            clearing,
        } = open(&config, clock).await?;
        door.assembly
            .reconcile()
            .await
            .map_err(ServeError::Reconcile)?;
        let sweeper = Sweeper {
            assembly: door.assembly.clone(),
            clearing,
            expiries: Retention {
                upload: config.upload_expiry,
                trash: config.trash_expiry,
            },
            graces: config.graces,
        };
        sweeper.sweep().await;
        let listener = bind(listen).await?;
        let address = listener.local_addr().map_err(|source| ServeError::Listen {
            address: listen,
            source,
        })?;
        let (accounts, assembly, index) = (
            door.accounts.clone(),
            door.assembly.clone(),
            door.index.clone(),
        );
        let stopping = door.stopping.clone();
        let news = door.news.clone();
        let found = move || news.tell_everybody();
        let scrubbing =
            tokio::spawn(scrub.run(config.scrub, door.clock.clone(), found, stopping.clone()));
        let sweeping = tokio::spawn(sweeper.keep_on(stopping.clone()));
        let listening = tokio::spawn(listening::listen(
            listener,
            shield.clone(),
            http::router(door),
            stopping.clone(),
        ));
        tracing::info!(%address, data = %config.data.root().display(), encrypted = shield.is_some(), "listening");
        Ok(Self {
            address,
            accounts,
            assembly,
            index,
            shield,
            stopping,
            listening,
            sweeping,
            scrubbing,
        })
    }

    /// Where it listens (the port, if 0 was asked for).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the address is written that it listens at: `http://...` or `https://...`.
    pub fn url(&self) -> String {
        let scheme = if self.shield.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Reads the certificate and its key again, for connections from now on. On an error the old
    /// ones stay.
    pub async fn renew_certificate(&self) -> Result<(), ServeError> {
        match &self.shield {
            Some(shield) => shield.renew().await.map_err(ServeError::Tls),
            None => Ok(()),
        }
    }

    /// For the embedded server: makes the user if missing and answers a (new) token for it.
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

    /// Stops accepting, lets requests under way finish for a named time, closes the index.
    pub async fn stop(self) -> Result<(), ServeError> {
        self.stopping.cancel();
        let listened = self.listening.await;
        let swept = self.sweeping.await.and(self.scrubbing.await);
        self.assembly.drain().await;
        self.index.close().await;
        tracing::info!("stopped");
        listened.and(swept).map_err(ServeError::Stop)
    }
}

/// Photos and tokens do not cross a network in the clear unless the administrator says so.
fn refuse_listeners(transport: &Transport, address: SocketAddr) -> Result<(), ServeError> {
    let open = !is_loopback(address.ip());
    match transport {
        Transport::PlainOnLoopback if open => return Err(ServeError::Unencrypted { address }),
        Transport::PlainAnywhere if open => {
            tracing::warn!(%address, "reachable from other machines without encryption");
        }
        Transport::PlainOnLoopback | Transport::PlainAnywhere | Transport::Tls(_) => {}
    }
    Ok(())
}

async fn raise_shield(transport: &Transport) -> Result<Option<Shield>, ServeError> {
    match transport {
        Transport::PlainOnLoopback | Transport::PlainAnywhere => Ok(None),
        Transport::Tls(files) => Shield::raise(files.clone())
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

/// What requests come to, and what goes on without them.
struct Opened {
    door: Door,
    scrub: Scrubber,
    clearing: GarbageCollector,
}

/// Every room opened, from the bottom up.
async fn open(config: &Config, clock: Clock) -> Result<Opened, ServeError> {
    let index = Index::open(&config.data.index_url())
        .await
        .map_err(ServeError::Index)?;
    let secret = index.secret().await.map_err(ServeError::Index)?;
    let blobs: Arc<dyn Blobs> = Arc::new(
        LocalBlobs::open(&config.data)
            .await
            .map_err(ServeError::Blobs)?,
    );
    let data = config.data.clone();
    let signer = spawn_blocking(move || Signer::open(&data))
        .await
        .map_err(ServeError::Stop)?;
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
    let scrub = Scrubber::new(index.clone(), Arc::clone(&blobs), Arc::clone(&counters));
    let clearing = GarbageCollector::new(
        index.clone(),
        Arc::clone(&blobs),
        clock.clone(),
        Arc::clone(&counters),
    );
    let assembly = UploadService::new(
        index.clone(),
        blobs,
        possession.clone(),
        clearing.clone(),
        clock.clone(),
        Arc::clone(&counters),
    );
    let door = Door {
        accounts: Accounts::new(index.clone()),
        assembly,
        possession,
        index,
        news: News::default(),
        clock,
        stopping: CancellationToken::new(),
        installation: installation(&secret),
        trash_expiry: TrashExpiry(config.trash_expiry),
        scrub: scrub.clone(),
        signer,
        restraint: Restraint::new(config.rates, Arc::clone(&counters)),
        counters,
    };
    Ok(Opened {
        door,
        scrub,
        clearing,
    })
}

fn installation(secret: &[u8; 32]) -> Installation {
    let name = blake3::derive_key(INSTALLATION_CONTEXT, secret);
    Installation(HEXLOWER.encode(&name[..16]).into())
}

/// Removes what is not wanted any more. An error costs one round: what expired is still expired at
/// the next.
struct Sweeper {
    assembly: UploadService,
    clearing: GarbageCollector,
    expiries: Retention,
    graces: Graces,
}

impl Sweeper {
    async fn keep_on(self, stopping: CancellationToken) {
        let mut rounds = interval_at(Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.clear() => {}
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = rounds.tick() => self.sweep().await,
            }
        }
    }

    /// May be dropped half-way.
    async fn clear(&self) {
        if let Err(error) = self
            .clearing
            .collect_unreferenced(self.graces.released)
            .await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "clear away what nobody has"
            );
        }
        if let Err(error) = self
            .clearing
            .collect_some_orphans(self.graces.stray, STRAY_SECTIONS)
            .await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "clear away what the index does not know"
            );
        }
    }

    async fn sweep(&self) {
        if let Err(error) = self.assembly.expire(self.expiries).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sweep what expired"
            );
        }
    }
}
