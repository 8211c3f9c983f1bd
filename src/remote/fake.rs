//! A server made of memory, for tests: stricter than the truth about what it is sent, and able to fail in
//! every way that a network and a server can.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use heirloom_protocol::message::{CheckImage, CheckedImage, CrossUser, Limits, Receipt, Session, UploadState};
use heirloom_protocol::message::{LibraryBatch, LibraryChange, LibraryOutcome, LibraryOutcomes};
use heirloom_protocol::possession::{Nonce, Prover, UserId};
use heirloom_protocol::{ByteRange, ContentDigest, ErrorCode, Fingerprint, LibraryPath, Problem, RangeSet, route};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::Login;

const TOKEN: &str = "a-token-of-the-tests";

/// One way to fail, for one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection is closed before anything was read.
    Cut,
    /// The request is carried out, and the connection closed before the answer.
    CutAfter,
    /// The body is never read, and nothing answered.
    Stall,
    /// This status with these words and `Retry-After`.
    Status(u16, &'static str, Option<u64>),
    /// A problem of ours.
    Problem(ErrorCode, Option<u64>),
    /// A good status around nonsense.
    Garbage(&'static str),
    /// Somewhere else.
    Redirect(String),
}

/// What the server has, and what it was asked.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) token: String,
    pub(crate) installation: String,
    pub(crate) limits: Limits,
    pub(crate) images: HashMap<Fingerprint, Vec<u8>>,
    /// Images of other users.
    pub(crate) strangers: HashMap<Fingerprint, Vec<u8>>,
    pub(crate) uploads: HashMap<Fingerprint, Partial>,
    /// Whether checks tell of interrupted uploads.
    pub(crate) tells_of_uploads: bool,
    pub(crate) library: HashMap<LibraryPath, (u64, Fingerprint)>,
    pub(crate) version: u64,
    /// The next faults: for requests whose line (`PUT /v1/...`) contains this.
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    /// Lines of all requests, and how many bytes their bodies had.
    pub(crate) requests: Vec<(String, usize)>,
    /// What is under way now, and what was at most.
    pub(crate) now: Traffic,
    pub(crate) most: Traffic,
    /// How long each shard takes.
    pub(crate) shard_takes: Duration,
}

/// An unfinished upload.
#[derive(Clone, Debug)]
pub(crate) struct Partial {
    pub(crate) bytes: Vec<u8>,
    pub(crate) received: RangeSet,
}

/// Shards under way, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) shards: usize,
    pub(crate) bytes: usize,
}

/// The server. Its state outlives its sockets: `stop` and `start_again` are a restart.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    tls: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    accepting: Option<tokio::task::JoinHandle<()>>,
    seen: watch::Sender<usize>,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        Self::start_behind(None).await
    }

    /// Speaks TLS, and HTTP/2 where that is agreed on.
    pub(crate) async fn start_behind(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::new()));
        let mut server = Self { address, state, tls, accepting: None, seen: watch::Sender::new(0) };
        server.accept(listener);
        server
    }

    fn accept(&mut self, listener: TcpListener) {
        let (state, seen, tls) = (Arc::clone(&self.state), self.seen.clone(), self.tls.clone());
        self.accepting = Some(tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, tls.clone(), Arc::clone(&state), seen.clone()));
            }
        }));
    }

    /// Cuts all connections and refuses new ones.
    pub(crate) async fn stop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            assert!(accepting.await.unwrap_err().is_cancelled());
        }
        self.state().now = Traffic::default();
    }

    pub(crate) fn start_again(&mut self) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.accept(socket.listen(64).unwrap());
    }

    pub(crate) fn login(&self) -> Login {
        Login {
            server: format!("http://{}", self.address).parse().unwrap(),
            token: TOKEN.parse().unwrap(),
            ca_file: None,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next request whose line contains `line` fails like this.
    pub(crate) fn fail(&self, line: &'static str, fault: Fault) {
        self.state().faults.push_back((line, fault));
    }

    /// Waits until the state is like this, looking after each request.
    pub(crate) async fn until(&self, like_this: impl Fn(&State) -> bool) {
        let mut seen = self.seen.subscribe();
        let waiting = seen.wait_for(|_| like_this(&self.state.lock().unwrap()));
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").unwrap();
    }
}

impl State {
    fn new() -> Self {
        Self {
            token: TOKEN.to_owned(),
            installation: "00000000000000000000000000000001".to_owned(),
            limits: Limits {
                check_images_max: 1000,
                library_changes_max: 1000,
                shard_bytes_min: 1,
                shard_bytes_max: 16 << 20,
                image_bytes_max: 64 << 20,
            },
            images: HashMap::new(),
            strangers: HashMap::new(),
            uploads: HashMap::new(),
            tells_of_uploads: true,
            library: HashMap::new(),
            version: 0,
            faults: VecDeque::new(),
            requests: Vec::new(),
            now: Traffic::default(),
            most: Traffic::default(),
            shard_takes: Duration::ZERO,
        }
    }

    pub(crate) fn session(&self) -> Session {
        Session {
            user: UserId(7),
            name: "anna".to_owned(),
            installation: self.installation.clone(),
            nonce: Nonce::from([3; 32]),
            nonce_renewal_s: 1800,
            cross_user: CrossUser::Proof,
            limits: self.limits,
            server_time_ms: 1,
        }
    }

    /// How many requests had this in their line.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.requests.iter().filter(|(request, _)| request.contains(line)).count()
    }

    /// Bytes of all shards that came.
    pub(crate) fn shard_bytes(&self) -> usize {
        self.requests.iter().filter(|(line, _)| line.starts_with("PUT")).map(|(_, bytes)| bytes).sum()
    }

    fn fault(&mut self, line: &str) -> Option<Fault> {
        let index = self.faults.iter().position(|(part, _)| line.contains(part))?;
        self.faults.remove(index).map(|(_, fault)| fault)
    }

    fn check(&mut self, image: &CheckImage) -> CheckedImage {
        let fingerprint = image.fingerprint;
        if let Some(bytes) = self.images.get(&fingerprint) {
            return CheckedImage::Owned { receipt: receipt(bytes) };
        }
        if let Some(bytes) = self.strangers.get(&fingerprint).cloned() {
            let session = self.session();
            let mut prover = Prover::new(&session.nonce, session.user, bytes.len() as u64);
            prover.update(&bytes);
            if image.proof == Some(prover.finish()) {
                let receipt = receipt(&bytes);
                self.images.insert(fingerprint, bytes);
                return CheckedImage::Linked { receipt };
            }
        }
        match self.uploads.get(&fingerprint) {
            Some(partial) if self.tells_of_uploads => {
                CheckedImage::Interrupted { fingerprint, received: partial.received.clone() }
            }
            Some(_) | None => CheckedImage::Absent { fingerprint },
        }
    }

    fn put(&mut self, shard: Shard, body: &[u8]) -> Result<UploadState, ErrorCode> {
        let Shard { fingerprint, offset, size, digest } = shard;
        if let Some(bytes) = self.images.get(&fingerprint) {
            return Ok(UploadState::Stored { receipt: receipt(bytes) });
        }
        let range = ByteRange::at(offset, body.len() as u64).map_err(|_| ErrorCode::EmptyShard)?;
        if range.end() > size || body.len() as u64 > self.limits.shard_bytes_max {
            return Err(ErrorCode::ShardOutOfBounds);
        }
        if ContentDigest::of(body) != digest {
            return Err(ErrorCode::DigestMismatch);
        }
        let length = usize::try_from(size).unwrap();
        let fresh = || Partial { bytes: vec![0; length], received: RangeSet::new() };
        let partial = self.uploads.entry(fingerprint).or_insert_with(fresh);
        if partial.bytes.len() != length {
            return Err(ErrorCode::LengthMismatch);
        }
        partial.bytes[usize::try_from(offset).unwrap()..][..body.len()].copy_from_slice(body);
        partial.received.insert(range);
        if !partial.received.covers(size) {
            return Ok(UploadState::Receiving { size, received: partial.received.clone() });
        }
        let bytes = self.uploads.remove(&fingerprint).unwrap().bytes;
        if Fingerprint::of(&bytes) != fingerprint {
            return Err(ErrorCode::FingerprintMismatch);
        }
        let receipt = receipt(&bytes);
        self.images.insert(fingerprint, bytes);
        Ok(UploadState::Stored { receipt })
    }

    fn change(&mut self, change: LibraryChange) -> LibraryOutcome {
        let standing = |path: &LibraryPath| self.library.get(path).map_or(0, |(version, _)| *version);
        let (path, base) = match &change {
            LibraryChange::Put { path, base, .. } | LibraryChange::Remove { path, base } => (path, *base),
            LibraryChange::Move { from, base, .. } => (from, *base),
        };
        let current = standing(path);
        if current != base {
            return LibraryOutcome::Conflict { current };
        }
        if let LibraryChange::Put { fingerprint, .. } = &change
            && !self.images.contains_key(fingerprint)
        {
            return LibraryOutcome::Refused { code: ErrorCode::ImageNotHeld };
        }
        self.version += 1;
        match change {
            LibraryChange::Put { path, fingerprint, .. } => {
                self.library.insert(path, (self.version, fingerprint));
            }
            LibraryChange::Move { from, to, .. } => match self.library.remove(&from) {
                Some((_, fingerprint)) => {
                    self.library.insert(to, (self.version, fingerprint));
                }
                None => return LibraryOutcome::Conflict { current: 0 },
            },
            LibraryChange::Remove { path, .. } => {
                self.library.remove(&path);
            }
        }
        LibraryOutcome::Applied { version: self.version }
    }
}

/// The head of a shard.
#[derive(Clone, Copy, Debug)]
struct Shard {
    fingerprint: Fingerprint,
    offset: u64,
    size: u64,
    digest: ContentDigest,
}

pub(crate) fn receipt(bytes: &[u8]) -> Receipt {
    Receipt { fingerprint: Fingerprint::of(bytes), size: bytes.len() as u64, stored_at_ms: 1 }
}

type Answer = Result<Response<Full<Bytes>>, io::Error>;

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>, seen: watch::Sender<usize>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state), seen.clone()));
    let server = auto::Builder::new(TokioExecutor::new());
    // Faults end connections on purpose, and some clients do not trust us.
    match tls {
        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>, seen: watch::Sender<usize>) -> Answer {
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
    let length = request.headers().get(CONTENT_LENGTH).map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let _passing = Passing::begin(&state, request.method() == Method::PUT, length);
    let fault = state.lock().unwrap().fault(&line);
    state.lock().unwrap().requests.push((line, length));
    let answer = match fault {
        None => carry_out(request, &state).await,
        Some(Fault::Cut) => Err(io::Error::other("cut")),
        Some(Fault::CutAfter) => carry_out(request, &state).await.and(Err(io::Error::other("cut"))),
        Some(Fault::Stall) => std::future::pending().await,
        Some(fault) => {
            request.into_body().collect().await.map_err(io::Error::other)?;
            Ok(failing(fault))
        }
    };
    seen.send_modify(|count| *count += 1);
    answer
}

fn failing(fault: Fault) -> Response<Full<Bytes>> {
    let text = |status, text: &str| {
        let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
        Response::builder().status(status).body(body).unwrap()
    };
    let (mut response, retry_after) = match fault {
        Fault::Status(status, words, retry_after) => (text(status, words), retry_after),
        Fault::Problem(code, retry_after) => (json(code.status(), &Problem::new(code)), retry_after),
        Fault::Garbage(words) => (text(200, words), None),
        Fault::Redirect(target) => {
            let mut response = text(307, "elsewhere");
            response.headers_mut().insert(LOCATION, target.parse().unwrap());
            (response, None)
        }
        Fault::Cut | Fault::CutAfter | Fault::Stall => unreachable!("these have no answer"),
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Counts a shard as long as it is under way.
struct Passing {
    state: Arc<Mutex<State>>,
    traffic: Traffic,
}

impl Passing {
    fn begin(state: &Arc<Mutex<State>>, shard: bool, bytes: usize) -> Self {
        let traffic = if shard { Traffic { shards: 1, bytes } } else { Traffic::default() };
        let mut locked = state.lock().unwrap();
        locked.now.shards += traffic.shards;
        locked.now.bytes += traffic.bytes;
        let now = locked.now;
        locked.most.shards = locked.most.shards.max(now.shards);
        locked.most.bytes = locked.most.bytes.max(now.bytes);
        Self { state: Arc::clone(state), traffic }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        state.now.shards = state.now.shards.saturating_sub(self.traffic.shards);
        state.now.bytes = state.now.bytes.saturating_sub(self.traffic.bytes);
    }
}

async fn carry_out(request: Request<Incoming>, state: &Arc<Mutex<State>>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let authorized = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    if authorized != Some(format!("Bearer {}", state.lock().unwrap().token)) {
        return Ok(refusal(ErrorCode::LoginNeeded));
    }
    let path = head.uri.path().to_owned();
    if head.method == Method::PUT {
        let takes = state.lock().unwrap().shard_takes;
        tokio::time::sleep(takes).await;
    }
    let mut state = state.lock().unwrap();
    Ok(match (&head.method, path.as_str()) {
        (&Method::GET, route::SESSION) => json(200, &state.session()),
        (&Method::POST, route::CHECK) => {
            let images: Vec<CheckImage> = serde_json::from_slice(&body).unwrap();
            assert!(images.len() <= state.limits.check_images_max);
            json(200, &images.iter().map(|image| state.check(image)).collect::<Vec<_>>())
        }
        (&Method::POST, route::LIBRARY_CHANGES) => {
            let batch: LibraryBatch = serde_json::from_slice(&body).unwrap();
            assert!(batch.changes.len() <= state.limits.library_changes_max);
            let outcomes = batch.changes.into_iter().map(|change| state.change(change)).collect();
            json(200, &LibraryOutcomes { outcomes })
        }
        (&Method::PUT, _) => match state.put(shard_of(&head, &path), &body) {
            Ok(stored) => json(200, &stored),
            Err(code) => refusal(code),
        },
        (&Method::GET, _) => {
            match path.rsplit('/').next().unwrap().parse().ok().and_then(|fp| state.uploads.get(&fp)) {
                Some(partial) => {
                    let (size, received) = (partial.bytes.len() as u64, partial.received.clone());
                    json(200, &UploadState::Receiving { size, received })
                }
                None => refusal(ErrorCode::NotFound),
            }
        }
        _ => refusal(ErrorCode::MethodNotAllowed),
    })
}

fn shard_of(head: &hyper::http::request::Parts, path: &str) -> Shard {
    let header = |name: &str| head.headers.get(name).unwrap().to_str().unwrap().to_owned();
    let mut parts = path.rsplit('/');
    let offset = parts.next().unwrap().parse().unwrap();
    let fingerprint = parts.next().unwrap().parse().unwrap();
    let size = header(route::UPLOAD_LENGTH).parse().unwrap();
    Shard { fingerprint, offset, size, digest: header(route::CONTENT_DIGEST).parse().unwrap() }
}

fn refusal(code: ErrorCode) -> Response<Full<Bytes>> {
    json(code.status(), &Problem::new(code))
}

fn json<Message: Serialize>(status: u16, message: &Message) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(serde_json::to_vec(message).unwrap()));
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap()
}
