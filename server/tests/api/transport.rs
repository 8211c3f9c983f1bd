//! Transport: over a network, photos and tokens are sent with TLS or not at all.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use heirloom_protocol::route;
use heirloom_server::clock::Clock;
use heirloom_server::config::{Config, DataDir, TlsFiles, Transport};
use heirloom_server::serve::{ServeError, Server};
use http_body_util::Full;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Client, LIMIT, TestServer};

/// Writes a new certificate for `localhost` and its key.
fn issue(folder: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

async fn tls_server() -> (TestServer, TempDir, TlsFiles) {
    let papers = tempfile::tempdir().unwrap();
    let files = issue(papers.path());
    let transport = Transport::Tls(files.clone());
    let server = TestServer::start_with(tempfile::tempdir().unwrap(), Clock::default(), |config| {
        config.transport = transport;
    });
    (server.await, papers, files)
}

/// Performs a TLS handshake, trusting the certificate that is in the file now.
async fn meet(
    address: SocketAddr,
    trusted: &TlsFiles,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&trusted.certificate).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut agreement = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    agreement.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    timeout(
        LIMIT,
        TlsConnector::from(Arc::new(agreement)).connect(name, stream),
    )
    .await
    .unwrap()
}

async fn session_over_http1(client: &Client, stream: TlsStream<TcpStream>) -> StatusCode {
    let (mut sender, driving) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let _driving = tokio::spawn(driving);
    let request = Request::get(route::SESSION)
        .body(Full::<Bytes>::default())
        .unwrap();
    timeout(LIMIT, sender.send_request(client.prepared(request)))
        .await
        .unwrap()
        .unwrap()
        .status()
}

#[tokio::test]
async fn http1_and_http2_work_over_tls() {
    let (server, _papers, files) = tls_server().await;
    let anna = server.client("anna").await;
    assert!(server.inner.url().starts_with("https://"));
    let one = meet(anna.address, &files, "http/1.1").await.unwrap();
    assert_eq!(
        one.get_ref().1.alpn_protocol(),
        Some(b"http/1.1".as_slice())
    );
    assert_eq!(session_over_http1(&anna, one).await, StatusCode::OK);

    let two = meet(anna.address, &files, "h2").await.unwrap();
    let (mut sender, driving) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(two))
            .await
            .unwrap();
    let _driving = tokio::spawn(driving);
    let request = Request::get(format!("https://localhost{}", route::SESSION))
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(
        sender
            .send_request(anna.prepared(request))
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    drop(sender);
    server.close().await;
}

#[tokio::test]
async fn a_reloaded_certificate_is_used_for_new_connections() {
    let (server, papers, old) = tls_server().await;
    let anna = server.client("anna").await;
    let before = tempfile::tempdir().unwrap();
    let kept = TlsFiles {
        certificate: before.path().join("cert.pem"),
        key: old.key.clone(),
    };
    std::fs::copy(&old.certificate, &kept.certificate).unwrap();
    let open = meet(anna.address, &old, "http/1.1").await.unwrap();

    let new = issue(papers.path());
    assert!(
        meet(anna.address, &new, "http/1.1").await.is_err(),
        "the new certificate is not used before the reload"
    );
    server.inner.reload_certificate().await.unwrap();
    let fresh = meet(anna.address, &new, "http/1.1").await.unwrap();
    assert_eq!(session_over_http1(&anna, fresh).await, StatusCode::OK);
    assert!(
        meet(anna.address, &kept, "http/1.1").await.is_err(),
        "the old certificate is no longer used"
    );
    assert_eq!(
        session_over_http1(&anna, open).await,
        StatusCode::OK,
        "open connections stay open"
    );

    // An invalid certificate changes nothing.
    for (file, spoilt) in [(&new.certificate, "no certificate"), (&new.key, "no key")] {
        let good = std::fs::read(file).unwrap();
        std::fs::write(file, spoilt).unwrap();
        assert!(
            matches!(
                server.inner.reload_certificate().await,
                Err(ServeError::Tls(_))
            ),
            "{spoilt}"
        );
        std::fs::write(file, good).unwrap();
    }
    let after = meet(anna.address, &new, "http/1.1").await.unwrap();
    assert_eq!(session_over_http1(&anna, after).await, StatusCode::OK);
    server.close().await;
}

#[tokio::test]
async fn a_tls_server_does_not_answer_plain_requests() {
    let (server, _papers, _files) = tls_server().await;
    let mut stream = TcpStream::connect(server.inner.address()).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    // The connection may be closed with or without a response.
    let _told = timeout(LIMIT, stream.read_to_end(&mut heard))
        .await
        .unwrap()
        .is_ok();
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    server.close().await;
}

#[tokio::test]
async fn plain_http_on_a_network_needs_permission() {
    let data = tempfile::tempdir().unwrap();
    let config = Config::new(DataDir::open(data.path()).unwrap());
    for open in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let refused = Server::start(config.clone(), open.parse().unwrap())
            .await
            .unwrap_err();
        assert!(
            matches!(refused, ServeError::Unencrypted { .. }),
            "{open}: {refused}"
        );
        assert!(
            refused.next_step().contains("--tls-cert"),
            "{}",
            refused.next_step()
        );
    }
    let accepted = Config {
        transport: Transport::PlainAnywhere,
        ..config
    };
    let server = Server::start(accepted, "0.0.0.0:0".parse().unwrap())
        .await
        .unwrap();
    server.stop().await.unwrap();
}
