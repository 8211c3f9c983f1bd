//! The client's side of the control socket: one request, one response.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use heirloom_protocol::LibraryPath;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::message::{
    FreeRequest, FreeResponse, MountStatus, PinRequest, RetryRequest, RetryResponse,
    UnmountResponse, VerifyRequest, VerifyResponse, WaitRequest, WaitResponse,
};

/// Time limit for requests that the daemon answers from memory; beyond it the daemon is stuck.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for one page of `free` or `verify`: some hundred files, which may be videos on a slow
/// disk, are confirmed by the server and read.
const PAGE_TIMEOUT: Duration = Duration::from_mins(30);

/// Largest response that is read into memory, in bytes. Responses are small; this is a guard
/// against a faulty process on the other end.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// A client for the daemon of one mount.
#[derive(Clone, Debug)]
pub struct ControlClient {
    socket: PathBuf,
}

/// Why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No process listens on the socket.
    #[error("the daemon is not running; mount the directory again with `heirloom mount`")]
    NotRunning(#[source] io::Error),
    /// The daemon sent no response, or not a valid one.
    #[error("no valid response from the daemon to {request}")]
    NoResponse {
        /// The request's path.
        request: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon could not carry the request out; its message says why.
    #[error("{0}")]
    Failed(String),
}

impl ControlClient {
    /// A client for the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The state of the mount.
    pub async fn status(&self) -> Result<MountStatus, ControlError> {
        self.get("/status").await
    }

    /// Waits up to `within_ms` for files to be backed up.
    pub async fn wait(&self, request: &WaitRequest) -> Result<WaitResponse, ControlError> {
        let timeout = Duration::from_millis(request.within_ms) + REQUEST_TIMEOUT;
        self.post("/wait", request, timeout).await
    }

    /// Removes the mount and stops the daemon.
    pub async fn unmount(&self) -> Result<UnmountResponse, ControlError> {
        self.post("/unmount", &(), REQUEST_TIMEOUT).await
    }

    /// Removes the local copies of one page of backed-up files.
    pub async fn free(&self, request: &FreeRequest) -> Result<FreeResponse, ControlError> {
        self.post("/free", request, PAGE_TIMEOUT).await
    }

    /// Queues failed files again.
    pub async fn retry(&self, request: &RetryRequest) -> Result<RetryResponse, ControlError> {
        self.post("/retry", request, REQUEST_TIMEOUT).await
    }

    /// Compares receipts, the server's copies and the local copies of one page of files.
    pub async fn verify(&self, request: &VerifyRequest) -> Result<VerifyResponse, ControlError> {
        self.post("/verify", request, PAGE_TIMEOUT).await
    }

    /// Keeps a file, or everything in a folder, on this disk.
    pub async fn pin(&self, path: &LibraryPath) -> Result<(), ControlError> {
        let request = PinRequest { path: path.clone() };
        self.post("/pin", &request, REQUEST_TIMEOUT).await
    }

    /// Removes a pin.
    pub async fn unpin(&self, path: &LibraryPath) -> Result<(), ControlError> {
        let request = PinRequest { path: path.clone() };
        self.post("/unpin", &request, REQUEST_TIMEOUT).await
    }

    async fn get<R: DeserializeOwned>(&self, path: &'static str) -> Result<R, ControlError> {
        self.request(Method::GET, path, &(), REQUEST_TIMEOUT).await
    }

    async fn post<R: DeserializeOwned>(
        &self,
        path: &'static str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<R, ControlError> {
        self.request(Method::POST, path, body, timeout).await
    }

    async fn request<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &'static str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<R, ControlError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(ControlError::NotRunning)?;
        let body = serde_json::to_vec(body).map_err(|error| no_response(path, error))?;
        let exchange = exchange(stream, path, method, body);
        let (ok, response) = match tokio::time::timeout(timeout, exchange).await {
            Ok(answered) => answered.map_err(|source| ControlError::NoResponse {
                request: path,
                source,
            })?,
            Err(elapsed) => return Err(no_response(path, elapsed)),
        };
        if !ok {
            return Err(ControlError::Failed(
                String::from_utf8_lossy(&response).into_owned(),
            ));
        }
        serde_json::from_slice(&response).map_err(|error| no_response(path, error))
    }
}

fn no_response(
    request: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> ControlError {
    ControlError::NoResponse {
        request,
        source: Box::new(error),
    }
}

/// Sends one request; returns whether its status is a success, and the response's body.
async fn exchange(
    stream: UnixStream,
    path: &str,
    method: Method,
    body: Vec<u8>,
) -> Result<(bool, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "heirloom")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let ok = response.status().is_success();
    let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX)
        .collect()
        .await?
        .to_bytes();
    driver.abort();
    Ok((ok, body))
}
