//! Listening: connections are let in until the server stops, and then seen out.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Limits};
use super::crowd::Crowd;
use super::shield::Shield;
use crate::http::Peer;

/// How long requests under way may take to finish after the server was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// How long nobody is let in after the system refused a connection, as when all file descriptors
/// are in use: trying again at once would spin.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);

/// Lets connections in until `stopping`, then waits for those that are at work. With a shield, all
/// of them speak TLS.
pub(super) async fn listen(
    listener: TcpListener,
    shield: Option<Shield>,
    router: Router,
    stopping: CancellationToken,
) {
    let (crowd, limits) = (Crowd::new(), Limits::new());
    let (graceful, connections, cut) = (
        GracefulShutdown::new(),
        TaskTracker::new(),
        CancellationToken::new(),
    );
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &crowd) => accepted,
        };
        match accepted {
            Ok((stream, peer, Some(place))) => {
                let serving = welcome(
                    stream,
                    peer,
                    shield.clone(),
                    router.clone(),
                    limits.clone(),
                    graceful.watcher(),
                );
                let cut = cut.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        () = cut.cancelled() => {}
                    }
                    drop(place);
                });
            }
            Ok((_, _, None)) => tracing::debug!("too many connections from one address"),
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = sleep(REFUSED_PAUSE) => {}
                }
            }
        }
    }
    // Whoever knocks from now on is refused by the kernel, at once.
    drop(listener);
    if timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
    cut.cancel();
    connections.close();
    connections.wait().await;
}

/// Serves one connection, behind the shield if there is one.
async fn welcome(
    stream: TcpStream,
    peer: Peer,
    shield: Option<Shield>,
    router: Router,
    limits: Limits,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "send small answers at once");
    }
    match shield {
        None => connection::serve(stream, peer, router, limits, watcher).await,
        Some(shield) => {
            if let Some(stream) = shield.meet(stream).await {
                connection::serve(stream, peer, router, limits, watcher).await;
            }
        }
    }
}

type Accepted = (TcpStream, Peer, Option<super::crowd::Place>);

async fn accept(listener: &TcpListener, crowd: &Crowd) -> io::Result<Accepted> {
    let room = crowd.room().await;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, Peer(peer.ip()), crowd.place(room, peer.ip())))
}
