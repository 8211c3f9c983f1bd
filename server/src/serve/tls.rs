//! TLS (rustls), with a certificate that can be reloaded while the server runs.
//!
//! Certificates last weeks, a server runs longer. On SIGHUP the certificate is read again from the
//! same two files and used for new connections. If it is not usable, the old one stays.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// Maximum time for a TLS handshake: two round trips on the slowest usable link.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Application protocols offered in the handshake (ALPN, RFC 7301), in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A TLS acceptor whose certificate can be reloaded. Clones share the certificate.
#[derive(Clone)]
pub(super) struct ReloadableTls {
    files: Arc<TlsFiles>,
    acceptor: Arc<RwLock<TlsAcceptor>>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read.
    #[error("cannot read the certificate file {0:?}")]
    Certificates(PathBuf, #[source] pem::Error),
    /// The certificate file contains no certificate.
    #[error("no certificate found in {0:?}")]
    NoCertificate(PathBuf),
    /// The key file cannot be read, or contains no private key.
    #[error("cannot read the private key in {0:?}")]
    Key(PathBuf, #[source] pem::Error),
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("cannot use the certificate in {0:?} with this private key")]
    Pair(PathBuf, #[source] rustls::Error),
    /// The task that read the files panicked.
    #[error("reading the certificate failed")]
    TaskFailed(#[source] tokio::task::JoinError),
}

impl ReloadableTls {
    /// Loads the certificate and its key.
    pub(super) async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let files = Arc::new(files);
        let acceptor = load_acceptor(Arc::clone(&files)).await?;
        Ok(Self {
            files,
            acceptor: Arc::new(RwLock::new(acceptor)),
        })
    }

    /// Reloads both files for new connections. After an error the old certificate stays in use.
    pub(super) async fn reload(&self) -> Result<(), TlsError> {
        let reloaded = load_acceptor(Arc::clone(&self.files)).await?;
        *self.acceptor.write() = reloaded;
        Ok(())
    }

    /// Performs the handshake. A handshake that fails or takes too long gives `None` and is logged
    /// only at `debug`: on the internet that is routine.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = self.acceptor.read().clone();
        match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("TLS handshake timed out");
                None
            }
        }
    }
}

impl fmt::Debug for ReloadableTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReloadableTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

async fn load_acceptor(files: Arc<TlsFiles>) -> Result<TlsAcceptor, TlsError> {
    let config = spawn_blocking(move || config(&files))
        .await
        .map_err(TlsError::TaskFailed)??;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS 1.2 and 1.3 with the defaults of rustls.
fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let certificates = certificates(&files.certificate)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::Key(files.key.clone(), error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| TlsError::Pair(files.certificate.clone(), error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// The server's certificate, followed by the intermediate certificates.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| TlsError::Certificates(file.to_owned(), error))?;
    if certificates.is_empty() {
        Err(TlsError::NoCertificate(file.to_owned()))
    } else {
        Ok(certificates)
    }
}
