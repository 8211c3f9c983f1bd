//! A fake server for tests: stricter than the real one about what it is sent, and able to fail in
//! every way that a network and a server can. `FakeServer` speaks HTTP; `InMemoryServer` is called
//! directly.

mod in_memory;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heirloom_protocol::message::{CheckImage, LibraryBatch, LibraryOutcomes};
use heirloom_protocol::{ErrorCode, Fingerprint, Problem, route};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::Login;
pub(crate) use in_memory::InMemoryServer;
use state::Shard;
pub(crate) use state::{Partial, State, Traffic, receipt};

const TOKEN: &str = "a-token-of-the-tests";

/// One way to fail, for one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection is closed before anything was read.
    Cut,
    /// The request is carried out, and the connection is closed before the response.
    CutAfter,
    /// This many bytes of a shard arrive and are kept; then the connection is closed.
    CutInside(usize),
    /// The body is never read, and there is no response.
    Stall,
    /// A response with this status, body and `Retry-After`.
    Status(u16, &'static str, Option<u64>),
    /// A problem document with this code and `Retry-After`.
    Problem(ErrorCode, Option<u64>),
    /// Status 200 with this body.
    Garbage(&'static str),
    /// A redirect to this URL.
    Redirect(String),
}

/// The fake server over HTTP. Its state outlives its sockets: `stop` and `restart` are a crash.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    tls: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    accepting: Option<tokio::task::JoinHandle<()>>,
    seen: watch::Sender<usize>,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        Self::start_with_tls(None).await
    }

    /// With TLS, and HTTP/2 where the client offers it.
    pub(crate) async fn start_with_tls(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::new()));
        let mut server = Self {
            address,
            state,
            tls,
            accepting: None,
            seen: watch::Sender::new(0),
        };
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
        self.state().in_flight = Traffic::default();
    }

    pub(crate) fn restart(&mut self) {
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
        self.state.lock()
    }

    /// Makes the next request whose line contains `line` fail like this.
    pub(crate) fn fail(&self, line: &'static str, fault: Fault) {
        self.state().faults.push_back((line, fault));
    }

    /// Waits until the state meets the condition; evaluated after each request.
    pub(crate) async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut seen = self.seen.subscribe();
        let waiting = seen.wait_for(|_| condition(&self.state.lock()));
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("in time")
            .unwrap();
    }
}

type FakeResponse = Result<Response<Full<Bytes>>, io::Error>;

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    seen: watch::Sender<usize>,
) {
    let service = service_fn(move |request| respond(request, Arc::clone(&state), seen.clone()));
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

async fn respond(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    seen: watch::Sender<usize>,
) -> FakeResponse {
    let line = format!(
        "{} {} {:?}",
        request.method(),
        request.uri(),
        request.version()
    );
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let _in_flight = InFlightGuard::begin(&state, request.method() == Method::PUT, length);
    let fault = state.lock().fault(&line);
    state.lock().requests.push((line, length));
    let response = match fault {
        None => apply(request, &state).await,
        Some(Fault::Cut) => Err(io::Error::other("cut")),
        Some(Fault::CutAfter) => apply(request, &state)
            .await
            .and(Err(io::Error::other("cut"))),
        Some(Fault::CutInside(bytes)) => {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let shard = shard_of(&head, head.uri.path());
            state.lock().add_photo(shard, &body[..bytes]);
            Err(io::Error::other("cut"))
        }
        Some(Fault::Stall) => std::future::pending().await,
        Some(fault) => {
            request
                .into_body()
                .collect()
                .await
                .map_err(io::Error::other)?;
            Ok(fault_response(fault))
        }
    };
    seen.send_modify(|count| *count += 1);
    response
}

fn fault_response(fault: Fault) -> Response<Full<Bytes>> {
    let text = |status, text: &str| {
        let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
        Response::builder().status(status).body(body).unwrap()
    };
    let (mut response, retry_after) = match fault {
        Fault::Status(status, words, retry_after) => (text(status, words), retry_after),
        Fault::Problem(code, retry_after) => {
            (json(code.status(), &Problem::new(code)), retry_after)
        }
        Fault::Garbage(words) => (text(200, words), None),
        Fault::Redirect(target) => {
            let mut response = text(307, "elsewhere");
            response
                .headers_mut()
                .insert(LOCATION, target.parse().unwrap());
            (response, None)
        }
        Fault::Cut | Fault::CutAfter | Fault::CutInside(_) | Fault::Stall => {
            unreachable!("these have no response")
        }
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Counts a shard as long as it is in flight.
struct InFlightGuard {
    state: Arc<Mutex<State>>,
    traffic: Traffic,
}

impl InFlightGuard {
    fn begin(state: &Arc<Mutex<State>>, shard: bool, bytes: usize) -> Self {
        let traffic = if shard {
            Traffic { shards: 1, bytes }
        } else {
            Traffic::default()
        };
        let mut locked = state.lock();
        locked.in_flight.shards += traffic.shards;
        locked.in_flight.bytes += traffic.bytes;
        let now = locked.in_flight;
        locked.max_in_flight.shards = locked.max_in_flight.shards.max(now.shards);
        locked.max_in_flight.bytes = locked.max_in_flight.bytes.max(now.bytes);
        Self {
            state: Arc::clone(state),
            traffic,
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.in_flight.shards = state.in_flight.shards.saturating_sub(self.traffic.shards);
        state.in_flight.bytes = state.in_flight.bytes.saturating_sub(self.traffic.bytes);
    }
}

async fn apply(request: Request<Incoming>, state: &Arc<Mutex<State>>) -> FakeResponse {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let authorized = head
        .headers
        .get(AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    if authorized != Some(format!("Bearer {}", state.lock().token)) {
        return Ok(refusal(ErrorCode::LoginNeeded));
    }
    let path = head.uri.path().to_owned();
    if head.method == Method::PUT {
        let takes = state.lock().shard_duration;
        tokio::time::sleep(takes).await;
    }
    let mut state = state.lock();
    Ok(match (&head.method, path.as_str()) {
        (&Method::GET, route::SESSION) => json(200, &state.session()),
        (&Method::POST, route::CHECK) => {
            let images: Vec<CheckImage> = serde_json::from_slice(&body).unwrap();
            assert!(images.len() <= state.limits.check_images_max);
            json(
                200,
                &images
                    .iter()
                    .map(|image| state.check(image))
                    .collect::<Vec<_>>(),
            )
        }
        (&Method::POST, route::LIBRARY_CHANGES) => {
            let batch: LibraryBatch = serde_json::from_slice(&body).unwrap();
            assert!(batch.changes.len() <= state.limits.library_changes_max);
            let outcomes = batch
                .changes
                .into_iter()
                .map(|change| state.change(change))
                .collect();
            json(200, &LibraryOutcomes { outcomes })
        }
        (&Method::POST, route::BATCHES) => json(200, &state.store_batch(&body)),
        (&Method::PUT, _) => match state.put(shard_of(&head, &path), &body) {
            Ok(stored) => json(200, &stored),
            Err(code) => refusal(code),
        },
        (&Method::GET, _) if path.starts_with("/v1/images/") => image(&head, &path, &state),
        (&Method::GET, _) => {
            let image: Option<Fingerprint> = path.rsplit('/').next().unwrap().parse().ok();
            match image.and_then(|image| state.upload(image)) {
                Some(upload) => json(200, &upload),
                None => refusal(ErrorCode::NotFound),
            }
        }
        _ => refusal(ErrorCode::MethodNotAllowed),
    })
}

/// A byte range of an image, or all of it (RFC 9110 section 14), for the one form of range that our
/// clients send.
fn image(head: &hyper::http::request::Parts, path: &str, state: &State) -> Response<Full<Bytes>> {
    let Some(bytes) = path
        .rsplit('/')
        .next()
        .unwrap()
        .parse()
        .ok()
        .and_then(|image| state.images.get(&image))
    else {
        return refusal(ErrorCode::NotFound);
    };
    let Some(range) = head.headers.get(RANGE) else {
        return Response::new(Full::new(Bytes::copy_from_slice(bytes)));
    };
    let (first, last) = range
        .to_str()
        .unwrap()
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    assert!(
        first <= last && last < bytes.len(),
        "{first}-{last} of {}",
        bytes.len()
    );
    let answer = Response::builder().status(206);
    answer
        .header(
            CONTENT_RANGE,
            format!("bytes {first}-{last}/{}", bytes.len()),
        )
        .body(Full::new(Bytes::copy_from_slice(&bytes[first..=last])))
        .unwrap()
}

fn shard_of(head: &hyper::http::request::Parts, path: &str) -> Shard {
    let header = |name: &str| head.headers.get(name).unwrap().to_str().unwrap().to_owned();
    let mut parts = path.rsplit('/');
    let offset = parts.next().unwrap().parse().unwrap();
    let fingerprint = parts.next().unwrap().parse().unwrap();
    let size = header(route::UPLOAD_LENGTH).parse().unwrap();
    Shard {
        fingerprint,
        offset,
        size,
        digest: header(route::CONTENT_DIGEST).parse().unwrap(),
    }
}

fn refusal(code: ErrorCode) -> Response<Full<Bytes>> {
    json(code.status(), &Problem::new(code))
}

fn json<Message: Serialize>(status: u16, message: &Message) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(serde_json::to_vec(message).unwrap()));
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .body(body)
        .unwrap()
}
