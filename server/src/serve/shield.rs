//! The shield: TLS around a connection, by rustls, and a certificate that can be renewed while the
//! server runs.
//!
//! Certificates last weeks; a server lasts longer. A new one is read from the same two files when
//! the administrator says so (SIGHUP), and connections from then on are shown it. One that cannot
//! be used changes nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// How long a handshake may take: two round trips on the worst link that is still of use.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// What is offered in a handshake (RFC 7301), the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS with the certificate of now. Clones show the same one.
#[derive(Clone)]
pub(super) struct Shield {
    files: Arc<TlsFiles>,
    acceptor: Arc<RwLock<TlsAcceptor>>,
}

/// Why a certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ShieldError {
    /// The file of certificates cannot be read, or has none.
    #[error("read the certificates in {0:?}")]
    Certificates(PathBuf, #[source] pem::Error),
    /// The file has no certificate in it.
    #[error("there is no certificate in {0:?}")]
    NoCertificate(PathBuf),
    /// The file of the private key cannot be read, or has none.
    #[error("read the private key in {0:?}")]
    Key(PathBuf, #[source] pem::Error),
    /// They are no pair, or of a kind that is not supported.
    #[error("use the certificate in {0:?} with its key")]
    Pair(PathBuf, #[source] rustls::Error),
    /// Reading them ended in a panic.
    #[error("read the certificate")]
    Lost(#[source] tokio::task::JoinError),
}

impl Shield {
    /// Reads the certificate and its key.
    pub(super) async fn raise(files: TlsFiles) -> Result<Self, ShieldError> {
        let files = Arc::new(files);
        let acceptor = read(Arc::clone(&files)).await?;
        Ok(Self {
            files,
            acceptor: Arc::new(RwLock::new(acceptor)),
        })
    }

    /// Reads them again, for connections from now on. On an error the old ones stay.
    pub(super) async fn renew(&self) -> Result<(), ShieldError> {
        let renewed = read(Arc::clone(&self.files)).await?;
        // A panic elsewhere has not spoiled it: it is replaced as a whole.
        *self
            .acceptor
            .write()
            .unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// Shakes hands; none if that failed or took too long, which is nothing for the log of the
    /// house: the internet knocks.
    pub(super) async fn meet(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = self
            .acceptor
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                None
            }
        }
    }
}

impl fmt::Debug for Shield {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shield")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

async fn read(files: Arc<TlsFiles>) -> Result<TlsAcceptor, ShieldError> {
    let read = spawn_blocking(move || agreement(&files))
        .await
        .map_err(ShieldError::Lost)??;
    Ok(TlsAcceptor::from(Arc::new(read)))
}

/// TLS 1.2 and 1.3 with what rustls holds to be safe.
fn agreement(files: &TlsFiles) -> Result<ServerConfig, ShieldError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| ShieldError::Key(files.key.clone(), error))?;
    let mut agreement = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(certificates(&files.certificate)?, key)
        .map_err(|error| ShieldError::Pair(files.certificate.clone(), error))?;
    agreement.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(agreement)
}

/// The server's certificate and those between it and an authority, in this order.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ShieldError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| ShieldError::Certificates(file.to_owned(), error))?;
    if certificates.is_empty() {
        Err(ShieldError::NoCertificate(file.to_owned()))
    } else {
        Ok(certificates)
    }
}
