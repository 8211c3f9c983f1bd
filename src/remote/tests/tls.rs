//! TLS: which servers are trusted, and which HTTP version is used.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::UploadState;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::super::fake::FakeServer;
use super::super::{Remote, RemoteError};
use crate::config::Login;

/// A server with a self-signed certificate, and the CA file that trusts it.
struct TlsServer {
    server: FakeServer,
    folder: TempDir,
}

impl TlsServer {
    async fn named(name: &str, protocols: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let server = FakeServer::start_with_tls(Some(TlsAcceptor::from(Arc::new(config)))).await;
        Self { server, folder }
    }

    fn login(&self) -> Login {
        let server = format!("https://localhost:{}", self.server.address.port())
            .parse()
            .unwrap();
        Login {
            server,
            ca_file: Some(self.folder.path().join("ca.pem")),
            ..self.server.login()
        }
    }
}

#[tokio::test]
async fn http2_is_used_where_offered_over_one_connection() {
    let fixture = TlsServer::named("localhost", &["h2", "http/1.1"]).await;
    let remote = Remote::new(&fixture.login()).unwrap();
    remote.session().await.unwrap();
    let content = Bytes::from(vec![5_u8; 6 << 20]);
    let image = Fingerprint::of(&content);
    let (put, status) = tokio::join!(
        remote.put_shard(image, 6 << 20, 0, image.into(), content.into()),
        remote.renewed_session()
    );
    assert!(matches!(put.unwrap(), UploadState::Stored { .. }));
    status.unwrap();
    assert_eq!(fixture.server.state().count("HTTP/2"), 3);
}

#[tokio::test]
async fn http1_is_used_otherwise() {
    let fixture = TlsServer::named("localhost", &["http/1.1"]).await;
    Remote::new(&fixture.login())
        .unwrap()
        .session()
        .await
        .unwrap();
    assert_eq!(fixture.server.state().count("HTTP/1.1"), 1);
}

#[tokio::test]
async fn a_server_without_a_trusted_certificate_gets_no_token() {
    let other = TlsServer::named("localhost", &["h2"]).await;
    let other_name = TlsServer::named("photos.example", &["h2"]).await;
    let unknown = TlsServer::named("localhost", &["h2"]).await;
    let wrong_authority = Login {
        ca_file: other.login().ca_file,
        ..unknown.login()
    };
    for login in [wrong_authority, other_name.login()] {
        let error = Remote::new(&login).unwrap().session().await.unwrap_err();
        assert!(matches!(error, RemoteError::Untrusted { .. }), "{error:?}");
        assert!(error.is_transient() && error.is_offline());
        assert!(error.chain().contains("certificate"), "{}", error.chain());
    }
    assert!(
        unknown.server.state().requests.is_empty() && other_name.server.state().requests.is_empty()
    );
}

#[tokio::test]
async fn https_never_falls_back_to_plain_http() {
    let plain = FakeServer::start().await;
    let tls_server = TlsServer::named("localhost", &["h2"]).await;
    let server = format!("https://localhost:{}", plain.address.port())
        .parse()
        .unwrap();
    let error = Remote::new(&Login {
        server,
        ..tls_server.login()
    })
    .unwrap()
    .session()
    .await
    .unwrap_err();
    assert!(error.is_offline(), "{error:?}");
    assert!(plain.state().requests.is_empty());
}
