//! A house to knock at, and guests who do.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt, Session, UploadState};
use heirloom_protocol::possession::{Proof, Prover, UserId};
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, Problem, route};
use heirloom_server::clock::Clock;
use heirloom_server::config::{Config, DataDir};
use heirloom_server::serve::Server;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A server with its data directory and its clock.
pub(crate) struct House {
    pub(crate) data: TempDir,
    pub(crate) clock: Clock,
    pub(crate) server: Server,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_at(tempfile::tempdir().unwrap(), |_| {}).await
    }

    pub(crate) async fn open_at(data: TempDir, decide: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(DataDir::open(data.path()).unwrap());
        decide(&mut config);
        let clock = Clock::default();
        let server = Server::start_with(config, SocketAddr::from(([127, 0, 0, 1], 0)), clock.clone()).await.unwrap();
        Self { data, clock, server }
    }

    /// Closes the house; its data directory can be opened again.
    pub(crate) async fn close(self) -> TempDir {
        timeout(LIMIT, self.server.stop()).await.unwrap().unwrap();
        self.data
    }

    pub(crate) async fn guest(&self, name: &str) -> Guest {
        let token = self.server.token_for(name).await.unwrap();
        Guest { address: self.server.address(), token: Some(token) }
    }

    pub(crate) fn stranger(&self) -> Guest {
        Guest { address: self.server.address(), token: None }
    }
}

/// Somebody with a token, or without.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a refusal, once it is certain that it has the form of one.
    #[track_caller]
    pub(crate) fn code(&self) -> ErrorCode {
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json", "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        assert_eq!(problem.code.status(), self.status.as_u16());
        problem.code
    }
}

impl Guest {
    /// One request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        timeout(LIMIT, self.try_send(request)).await.unwrap()
    }

    async fn try_send(&self, mut request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        request.headers_mut().insert(HOST, self.address.to_string().parse().unwrap());
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str, message: &impl Serialize) -> Answer {
        self.post_text(path, serde_json::to_string(message).unwrap()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    pub(crate) async fn session(&self) -> Session {
        self.get(route::SESSION).await.json()
    }

    pub(crate) async fn check_raw(&self, images: &[CheckImage]) -> Answer {
        self.post(route::CHECK, &images).await
    }

    pub(crate) async fn check(&self, photo: &[u8]) -> CheckedImage {
        let image = CheckImage { fingerprint: Fingerprint::of(photo), size: photo.len() as u64, proof: None };
        self.check_raw(&[image]).await.json::<Vec<CheckedImage>>().remove(0)
    }

    /// Sends `photo[start..end]` as it should be sent.
    pub(crate) async fn put(&self, photo: &[u8], start: usize, end: usize) -> UploadState {
        self.put_raw(Fingerprint::of(photo), photo.len() as u64, start, &photo[start..end]).await.json()
    }

    pub(crate) async fn put_raw(&self, fingerprint: Fingerprint, size: u64, start: usize, bytes: &[u8]) -> Answer {
        self.put_with_digest(fingerprint, size, start, bytes, ContentDigest::of(bytes)).await
    }

    pub(crate) async fn put_with_digest(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        start: usize,
        bytes: &[u8],
        digest: ContentDigest,
    ) -> Answer {
        let request = Request::put(route::shard(fingerprint, start as u64))
            .header(route::UPLOAD_LENGTH, size)
            .header(route::CONTENT_DIGEST, digest.to_string());
        self.send(request.body(Full::new(Bytes::copy_from_slice(bytes))).unwrap()).await
    }

    /// Uploads the whole photo and takes the receipt.
    pub(crate) async fn store(&self, photo: &[u8]) -> Receipt {
        stored(self.put(photo, 0, photo.len()).await)
    }

    /// Whether the server gives out exactly this photo.
    pub(crate) async fn has(&self, photo: &[u8]) -> bool {
        let answer = self.get(&route::image(Fingerprint::of(photo))).await;
        answer.status == StatusCode::OK && answer.body == photo
    }
}

#[track_caller]
pub(crate) fn stored(state: UploadState) -> Receipt {
    match state {
        UploadState::Stored { receipt } => receipt,
        UploadState::Receiving { .. } => panic!("not whole: {state:?}"),
    }
}

/// Bytes that no two seeds share.
pub(crate) fn photo(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

pub(crate) fn prove(session: &Session, user: UserId, photo: &[u8]) -> Proof {
    let mut prover = Prover::new(&session.nonce, user, photo.len() as u64);
    prover.update(photo);
    prover.finish()
}
