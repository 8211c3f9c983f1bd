//! One connection: HTTP/1.1 or HTTP/2, with limits on time and memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::http1_guard::{FIELDS_MAX, HeadResults, HeadViolation, Http1Guard};
use crate::http::{ErrorResponse, PeerAddress};

/// Maximum time for the head of a request, both the first one of a connection and later ones.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// Maximum size of the read buffer of a connection in bytes, which also bounds a head.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Maximum number of concurrent requests on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;

/// Maximum size of an HTTP/2 head in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;

/// Interval of the pings on an HTTP/2 connection, and the maximum time for a reply.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// hyper's connection builder with our limits. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ConnectionBuilder {
    builder: Builder<TokioExecutor>,
}

impl ConnectionBuilder {
    /// A builder with all limits set.
    pub(super) fn new() -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // Without a timer, hyper's time limits never fire.
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

/// Serves a connection to its end, or until `watcher` asks it to finish the requests in progress.
pub(super) async fn serve<S>(
    stream: S,
    peer: PeerAddress,
    router: Router,
    builder: ConnectionBuilder,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let active = Arc::new(AtomicBool::new(false));
    let (became_active, heads) = (Arc::clone(&active), HeadResults::default());
    let guard = Http1Guard::new(stream, heads.clone());
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        became_active.store(true, Ordering::Relaxed);
        respond(router.clone(), heads.next_violation(), request)
    });
    let connection = builder
        .builder
        .serve_connection(TokioIo::new(guard), service)
        .into_owned();
    let serving = std::pin::pin!(watcher.watch(connection));
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended early");
            }
        }
        () = no_request(&active) => tracing::debug!("closed a connection without a request"),
    }
}

/// Completes if the connection has sent no request within [`HEAD_TIME_MAX`], and otherwise never.
/// hyper-util itself waits without limit until it knows the HTTP version.
async fn no_request(active: &AtomicBool) {
    sleep(HEAD_TIME_MAX).await;
    if active.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn respond(
    router: TowerToHyperService<Router>,
    violation: Option<HeadViolation>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    match violation {
        // hyper parsed a substitute request then, and not what the client sent: see the guard.
        Some(HeadViolation { code, detail }) => {
            let response = ErrorResponse::new(code, detail).closing_connection();
            Ok(response.into_response())
        }
        None => router.call(request.map(Body::new)).await,
    }
}
