//! A test server in this process, and clients for it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt, Scope, Session, UploadState};
use heirloom_protocol::possession::{Proof, Prover, UserId};
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, Problem, route};
use heirloom_server::accounts::{AccountError, Accounts};
use heirloom_server::clock::Clock;
use heirloom_server::config::{Config, DataDir};
use heirloom_server::index::Index;
use heirloom_server::serve::Server;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than any step of a test may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A server with its data directory and its clock.
pub(crate) struct TestServer {
    pub(crate) data: TempDir,
    pub(crate) clock: Clock,
    pub(crate) inner: Server,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), Clock::default(), |_| {}).await
    }

    pub(crate) async fn restart(data: TempDir) -> Self {
        Self::start_with(data, Clock::default(), |_| {}).await
    }

    pub(crate) async fn start_with(
        data: TempDir,
        clock: Clock,
        decide: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(DataDir::open(data.path()).unwrap());
        decide(&mut config);
        let server =
            Server::start_with(config, SocketAddr::from(([127, 0, 0, 1], 0)), clock.clone())
                .await
                .unwrap();
        Self {
            data,
            clock,
            inner: server,
        }
    }

    /// A second server on the same data.
    pub(crate) async fn start_second(other: &Self) -> Server {
        let config = Config::new(DataDir::open(other.data.path()).unwrap());
        Server::start(config, SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap()
    }

    /// Stops the server; its data directory can be used again.
    pub(crate) async fn close(self) -> TempDir {
        timeout(LIMIT, self.inner.stop()).await.unwrap().unwrap();
        self.data
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        let token = self.inner.token_for(name).await.unwrap();
        Client {
            address: self.inner.address(),
            token: Some(token),
        }
    }

    /// A client with a token of this scope, for a device named `device`. Creates the user if
    /// necessary.
    pub(crate) async fn device(&self, user: &str, scope: Scope) -> Client {
        let (accounts, index) = self.accounts().await;
        match accounts.add_user(user).await {
            Ok(_) | Err(AccountError::NameTaken(_)) => {}
            Err(error) => panic!("{error}"),
        }
        let token = accounts.add_device(user, "device", scope).await.unwrap();
        index.close().await;
        Client {
            address: self.inner.address(),
            token: Some(token),
        }
    }

    /// The accounts, as an administrator command opens them while the server runs.
    pub(crate) async fn accounts(&self) -> (Accounts, Index) {
        let index = Index::open(&DataDir::open(self.data.path()).unwrap().index_url())
            .await
            .unwrap();
        (Accounts::new(index.clone()), index)
    }

    pub(crate) fn anonymous(&self) -> Client {
        Client {
            address: self.inner.address(),
            token: None,
        }
    }
}

/// A client of the server, with or without a token.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driving: JoinHandle<hyper::Result<()>>,
}

impl Connection {
    pub(crate) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Response {
        let (parts, body) = self
            .sender
            .send_request(request)
            .await
            .unwrap()
            .into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error code. Asserts that the response is a valid problem detail.
    #[track_caller]
    pub(crate) fn code(&self) -> ErrorCode {
        assert_eq!(
            self.headers[CONTENT_TYPE], "application/problem+json",
            "{self:?}"
        );
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        assert_eq!(problem.code.status(), self.status.as_u16());
        problem.code
    }
}

impl Client {
    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response {
        timeout(LIMIT, self.try_send(request)).await.unwrap()
    }

    async fn try_send(&self, request: Request<Full<Bytes>>) -> Response {
        self.connect().await.ask(self.prepared(request)).await
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, driving) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        Connection {
            sender,
            _driving: tokio::spawn(driving),
        }
    }

    /// Adds the headers that every request needs.
    pub(crate) fn prepared(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        request
            .headers_mut()
            .insert(HOST, self.address.to_string().parse().unwrap());
        if let Some(token) = &self.token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        request
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Response {
        self.send(
            Request::builder()
                .method(method)
                .uri(path)
                .body(Full::default())
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str, message: &impl Serialize) -> Response {
        self.post_text(path, serde_json::to_string(message).unwrap())
            .await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl Into<Bytes>) -> Response {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(request.body(Full::new(body.into())).unwrap())
            .await
    }

    pub(crate) async fn session(&self) -> Session {
        self.get(route::SESSION).await.json()
    }

    pub(crate) async fn check_raw(&self, images: &[CheckImage]) -> Response {
        self.post(route::CHECK, &images).await
    }

    pub(crate) async fn check(&self, photo: &[u8]) -> CheckedImage {
        let image = CheckImage {
            fingerprint: Fingerprint::of(photo),
            size: photo.len() as u64,
            proof: None,
        };
        self.check_raw(&[image])
            .await
            .json::<Vec<CheckedImage>>()
            .remove(0)
    }

    /// Sends `photo[start..end]` as a valid shard.
    pub(crate) async fn put(&self, photo: &[u8], start: usize, end: usize) -> UploadState {
        self.put_raw(
            Fingerprint::of(photo),
            photo.len() as u64,
            start,
            &photo[start..end],
        )
        .await
        .json()
    }

    pub(crate) async fn put_raw(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        start: usize,
        bytes: &[u8],
    ) -> Response {
        self.put_with_digest(fingerprint, size, start, bytes, ContentDigest::of(bytes))
            .await
    }

    pub(crate) async fn put_with_digest(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        start: usize,
        bytes: &[u8],
        digest: ContentDigest,
    ) -> Response {
        let request = Request::put(route::shard(fingerprint, start as u64))
            .header(route::UPLOAD_LENGTH, size)
            .header(route::CONTENT_DIGEST, digest.to_string());
        self.send(
            request
                .body(Full::new(Bytes::copy_from_slice(bytes)))
                .unwrap(),
        )
        .await
    }

    /// Uploads the whole photo and returns the receipt.
    pub(crate) async fn store(&self, photo: &[u8]) -> Receipt {
        stored(self.put(photo, 0, photo.len()).await)
    }

    /// Whether the server returns exactly this photo.
    pub(crate) async fn has(&self, photo: &[u8]) -> bool {
        let response = self.get(&route::image(Fingerprint::of(photo))).await;
        response.status == StatusCode::OK && response.body == photo
    }
}

#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers have no other use for the response"
)]
pub(crate) fn stored(state: UploadState) -> Receipt {
    match state {
        UploadState::Stored { receipt } => receipt,
        UploadState::Receiving { .. } => panic!("incomplete: {state:?}"),
    }
}

/// The receipt as a check repeats it.
pub(crate) fn unsigned(receipt: Receipt) -> Receipt {
    Receipt {
        signature: None,
        ..receipt
    }
}

/// Pseudo-random bytes, different for each seed.
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

/// Sends raw bytes; returns the responses until the server closed the connection.
pub(crate) async fn raw(address: SocketAddr, said: &str) -> Vec<Response> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut heard = Vec::new();
    let (_sent_all, read) = timeout(LIMIT, async {
        // After an error the server may stop reading.
        tokio::join!(
            async { writing.write_all(said.as_bytes()).await.is_ok() },
            reading.read_to_end(&mut heard)
        )
    })
    .await
    .unwrap();
    read.unwrap();
    responses(&heard)
}

/// Parses responses that each have a Content-Length.
pub(crate) fn responses(mut bytes: &[u8]) -> Vec<Response> {
    let mut responses = Vec::new();
    while !bytes.is_empty() {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a whole head")
            + 4;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: HeaderMap = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let length: usize = headers[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
        responses.push(Response {
            status,
            headers,
            body: Bytes::copy_from_slice(&bytes[end..end + length]),
        });
        bytes = &bytes[end + length..];
    }
    responses
}

/// Asserts that the server stores no photo bytes.
#[track_caller]
pub(crate) fn assert_nothing_stored(server: &TestServer) {
    assert_eq!(kept(server), Vec::<String>::new());
}

/// Every file in which the server stores photo bytes.
pub(crate) fn kept(server: &TestServer) -> Vec<String> {
    let mut folders = vec![
        server.data.path().join("images"),
        server.data.path().join("uploads"),
    ];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.display().to_string());
            }
        }
    }
    names
}
