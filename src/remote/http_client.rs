//! The HTTP client: TLS by rustls, HTTP/2 where the server offers it, HTTP/1.1 otherwise, with a
//! pool of connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::error::{BoxedError, RemoteError};
use super::request_body::RequestBody;

/// A pooled HTTP client with TLS.
pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, RequestBody>;

/// Longest time to open a TCP connection: a server that takes longer counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time before the kernel probes an unused connection, and between probes: this notices that a
/// laptop changed networks.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A connection ends when bytes sent are not acknowledged by the other kernel for this long
/// (`TCP_USER_TIMEOUT`, RFC 5482).
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an unused connection is kept: less than servers and proxies usually allow (60 s and
/// more).
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Unused connections kept: as many as are ever used at a time, those of the library and of reads
/// included.
const IDLE_CONNECTIONS_MAX: usize = 16;
/// HTTP/2 windows, in bytes: one second at 32 Mbyte/s over all streams, and half of it for one.
const CONNECTION_WINDOW: u32 = 32 << 20;
const STREAM_WINDOW: u32 = 16 << 20;
/// Bytes that HTTP/2 may buffer for one stream before the socket takes them.
const STREAM_SEND_BUFFER: usize = 256 << 10;

/// Builds a client that trusts the certificate authorities in `ca_file`, or else those of the
/// system.
pub(super) fn build(ca_file: Option<&Path>) -> Result<HttpClient, RemoteError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(ca_file)?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_send_buf_size(STREAM_SEND_BUFFER)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .build(connector))
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, RemoteError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3");
    with_roots(builder, ca_file)
}

fn with_roots(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    ca_file: Option<&Path>,
) -> Result<ClientConfig, RemoteError> {
    let builder = match ca_file {
        Some(file) => builder.with_root_certificates(roots_from(file)?),
        None => builder
            .with_native_roots()
            .map_err(RemoteError::SystemRoots)?,
    };
    Ok(builder.with_no_client_auth())
}

fn roots_from(file: &Path) -> Result<RootCertStore, RemoteError> {
    let failed = |source: BoxedError| RemoteError::CaFile {
        file: file.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(error.into()))? {
        let certificate = certificate.map_err(|error| failed(error.into()))?;
        roots
            .add(certificate)
            .map_err(|error| failed(error.into()))?;
    }
    if roots.is_empty() {
        Err(failed("it contains no certificate".into()))
    } else {
        Ok(roots)
    }
}
