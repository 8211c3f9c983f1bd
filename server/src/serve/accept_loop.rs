//! The accept loop: accepts connections until the server stops, then drains them.
//!
//! It is our own, on hyper-util, because axum's sets no time limits: a client that sends half a
//! head would be waited for without limit.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, ConnectionBuilder};
use super::connection_limit::{ConnectionLimit, ConnectionSlot};
use super::tls::ReloadableTls;
use crate::http::PeerAddress;

/// Maximum time for requests in progress to finish once the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Pause after the system failed to accept a connection, as when all file descriptors are in use.
/// Trying again at once would spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(250);

/// Accepts connections until `stopping` is cancelled, then waits for requests in progress. With
/// `tls`, every connection must use TLS.
pub(super) async fn run(
    listener: TcpListener,
    tls: Option<ReloadableTls>,
    router: Router,
    stopping: CancellationToken,
) {
    let (limit, builder) = (ConnectionLimit::new(), ConnectionBuilder::new());
    let (graceful, connections, abort) = (
        GracefulShutdown::new(),
        TaskTracker::new(),
        CancellationToken::new(),
    );
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &limit) => accepted,
        };
        match accepted {
            Ok((stream, peer, Some(slot))) => {
                let serving = serve_connection(
                    stream,
                    peer,
                    tls.clone(),
                    router.clone(),
                    builder.clone(),
                    graceful.watcher(),
                );
                let abort = abort.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        () = abort.cancelled() => {}
                    }
                    drop(slot);
                });
            }
            Ok((_, _, None)) => tracing::debug!("rejected a connection: too many from its address"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = sleep(ACCEPT_ERROR_PAUSE) => {}
                }
            }
        }
    }
    // From here on the kernel refuses new connections at once.
    drop(listener);
    if timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time; closing their connections");
    }
    abort.cancel();
    connections.close();
    connections.wait().await;
}

/// Serves one connection, over TLS if it is configured.
async fn serve_connection(
    stream: TcpStream,
    peer: PeerAddress,
    tls: Option<ReloadableTls>,
    router: Router,
    builder: ConnectionBuilder,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    match tls {
        None => connection::serve(stream, peer, router, builder, watcher).await,
        Some(tls) => {
            if let Some(stream) = tls.accept(stream).await {
                connection::serve(stream, peer, router, builder, watcher).await;
            }
        }
    }
}

type Accepted = (TcpStream, PeerAddress, Option<ConnectionSlot>);

async fn accept(listener: &TcpListener, limit: &ConnectionLimit) -> io::Result<Accepted> {
    let permit = limit.permit().await;
    let (stream, peer) = listener.accept().await?;
    Ok((
        stream,
        PeerAddress(peer.ip()),
        limit.slot(permit, peer.ip()),
    ))
}
