//! HttpClient to the server: TLS by rustls, HTTP/2 where the server offers it, HTTP/1.1 otherwise,
//! all kept for reuse.

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

use super::error::{RemoteError, Source};
use super::request_body::RequestBody;

/// What requests go through.
pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, RequestBody>;

/// For a TCP connection to come about: a server that takes longer is as good as away.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Before an unused connection is probed by the kernel, and between probes: finds out that a laptop
/// changed networks.
const PROBE_AFTER: Duration = Duration::from_secs(20);
/// Bytes sent but not acknowledged by the other kernel for so long end the connection
/// (`TCP_USER_TIMEOUT`, RFC 5482).
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(30);
/// How long an unused connection is kept: below what servers and proxies usually allow (60 s and
/// more).
const IDLE_LIMIT: Duration = Duration::from_secs(45);
/// Unused connections kept: as many as are ever used at a time, with room for the library and
/// reads.
const IDLE_MAX: usize = 16;
/// HTTP/2 windows, in bytes: one second at 32 Mbyte/s over all streams, and half of it for one.
const CONNECTION_WINDOW: u32 = 32 << 20;
const STREAM_WINDOW: u32 = 16 << 20;
/// Bytes that HTTP/2 may hold for one stream before the socket takes them.
const STREAM_SEND_BUFFER: usize = 256 << 10;

/// Prepares connections that trust the authorities in `ca_file`, or else those of the system.
pub(super) fn prepare(ca_file: Option<&Path>) -> Result<HttpClient, RemoteError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_LIMIT));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_AFTER));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(ca_file)?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_max_idle_per_host(IDLE_MAX)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_send_buf_size(STREAM_SEND_BUFFER)
        .http2_keep_alive_interval(PROBE_AFTER)
        .build(connector))
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, RemoteError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3");
    trusting(builder, ca_file)
}

fn trusting(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    ca_file: Option<&Path>,
) -> Result<ClientConfig, RemoteError> {
    let builder = match ca_file {
        Some(file) => builder.with_root_certificates(authorities(file)?),
        None => builder
            .with_native_roots()
            .map_err(RemoteError::NoAuthorities)?,
    };
    Ok(builder.with_no_client_auth())
}

fn authorities(file: &Path) -> Result<RootCertStore, RemoteError> {
    let failed = |source: Source| RemoteError::Authorities {
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
        Err(failed("there is no certificate in it".into()))
    } else {
        Ok(roots)
    }
}
