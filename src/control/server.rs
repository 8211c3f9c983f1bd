//! The daemon's side of the control socket: one route for each command.

use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use axum::Router;
use axum::routing::{get, post};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::context::ControlState;
use super::retry::retry;
use super::space::{free, pin, unpin};
use super::status::status;
use super::unmount::unmount;
use super::verify::verify;
use super::wait::wait;

/// How long requests in flight may take to finish once the mount is gone.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(2);

/// The server on the control socket.
#[derive(Debug)]
pub struct ControlServer {
    socket: PathBuf,
    shutdown: Arc<Notify>,
    task: JoinHandle<()>,
}

impl ControlServer {
    /// Listens on `socket`, replacing a socket file that a crashed daemon left behind. Must be
    /// called inside a tokio runtime, with the state directory's lock held.
    pub fn start(socket: &Path, context: ControlState) -> io::Result<Self> {
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = StdUnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let routes = Router::new()
            .route("/status", get(status))
            .route("/wait", post(wait))
            .route("/unmount", post(unmount))
            .route("/free", post(free))
            .route("/verify", post(verify))
            .route("/pin", post(pin))
            .route("/unpin", post(unpin))
            .route("/retry", post(retry))
            .with_state(Arc::new(context));
        let shutdown = Arc::new(Notify::new());
        let requested = Arc::clone(&shutdown);
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, routes)
                .with_graceful_shutdown(async move { requested.notified().await });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the control socket stopped accepting requests");
            }
        });
        Ok(Self {
            socket: socket.to_owned(),
            shutdown,
            task,
        })
    }

    /// Lets requests in flight finish, stops, and removes the socket.
    pub async fn stop(self) {
        self.shutdown.notify_one();
        // The client that asked for the unmount should still get its response; one that does not
        // read it is not waited for.
        if tokio::time::timeout(SHUTDOWN_WITHIN, self.task)
            .await
            .is_err()
        {
            tracing::debug!("a client of the control socket did not read its response in time");
        }
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the control socket was already removed");
        }
    }
}
