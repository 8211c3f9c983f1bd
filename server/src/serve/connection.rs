//! One connection: HTTP/1.1 or HTTP/2, and the time it may take.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use heirloom_protocol::ErrorCode;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::gate::{FIELDS_MAX, Findings, Gate};
use crate::http::{Peer, Refusal};

/// How long a request's head may take, the first as well as every later one.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes that a connection may buffer, which also bounds a head.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;

/// Bytes in an HTTP/2 head.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;

/// How often an HTTP/2 connection is asked whether it is still there, and how long it may take to
/// say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// The limits of connections, as hyper takes them.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    builder: Builder<TokioExecutor>,
}

impl Limits {
    pub(super) fn new() -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // Without a timer hyper's time limits exist and never ring.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_headers(FIELDS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIME_MAX);
        Self { builder }
    }
}

/// Serves a connection to its end, or until `watcher` asks it to finish what is under way.
pub(super) async fn serve<S>(
    stream: S,
    peer: Peer,
    router: Router,
    limits: Limits,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let spoken = Arc::new(AtomicBool::new(false));
    let (heard, findings) = (Arc::clone(&spoken), Findings::default());
    let gate = Gate::new(stream, findings.clone());
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        heard.store(true, Ordering::Relaxed);
        answer(router.clone(), findings.fault(), request)
    });
    let connection = limits
        .builder
        .serve_connection(TokioIo::new(gate), service)
        .into_owned();
    let serving = std::pin::pin!(watcher.watch(connection));
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        }
        () = silence(&spoken) => tracing::debug!("a connection said nothing"),
    }
}

/// hyper-util waits without limit until it knows which HTTP is spoken. Ends when nothing was asked
/// for too long; never, once something was.
async fn silence(spoken: &AtomicBool) {
    sleep(HEAD_TIME_MAX).await;
    if spoken.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn answer(
    router: TowerToHyperService<Router>,
    fault: Option<(ErrorCode, &'static str)>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    match fault {
        // What hyper shows us then is not what was sent: see the gate.
        Some((code, detail)) => Ok(Refusal::because(code, detail).and_close().into_response()),
        None => router.call(request.map(Body::new)).await,
    }
}
