//! The command line's side: one question at a time over the daemon's socket.

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

/// The daemon answers from memory; one that does not within this is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Some hundred photos are confirmed by the server, read and given up within this, be they films on
/// a slow disk.
const FREED_WITHIN: Duration = Duration::from_mins(30);

/// Answers are small; this bounds what a confused process on the other end could make us hold, in
/// bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Asks one daemon.
#[derive(Clone, Debug)]
pub struct ControlClient {
    socket: PathBuf,
}

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens: the daemon is not running.
    #[error(
        "nothing is mounted there, or its daemon was killed; `heirloom mount` goes on where it ended"
    )]
    NotRunning(#[source] io::Error),
    /// It listens, but does not answer as it should.
    #[error("the daemon did not answer {question}")]
    NoAnswer {
        /// What was asked.
        question: &'static str,
        /// Why there is no answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered that it could not.
    #[error("the daemon could not: {0}")]
    Refused(String),
}

impl ControlClient {
    /// Asks the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The state of everything.
    pub async fn status(&self) -> Result<MountStatus, ControlError> {
        self.ask("/status", Method::GET, &(), ANSWER_WITHIN).await
    }

    /// Whether all is backed up; waits a while for it.
    pub async fn wait(&self, request: &WaitRequest) -> Result<WaitResponse, ControlError> {
        let within = Duration::from_millis(request.within_ms) + ANSWER_WITHIN;
        self.ask("/wait", Method::POST, request, within).await
    }

    /// Takes the mount away.
    pub async fn unmount(&self) -> Result<UnmountResponse, ControlError> {
        self.ask("/unmount", Method::POST, &(), ANSWER_WITHIN).await
    }

    /// Gives the room of photos back, a part of those asked for.
    pub async fn free(&self, request: &FreeRequest) -> Result<FreeResponse, ControlError> {
        self.ask("/free", Method::POST, request, FREED_WITHIN).await
    }

    /// Takes failed files in once more.
    pub async fn retry(&self, request: &RetryRequest) -> Result<RetryResponse, ControlError> {
        self.ask("/retry", Method::POST, request, ANSWER_WITHIN)
            .await
    }

    /// Holds receipts, the server's copies and those here against each other, a part of those asked
    /// for.
    pub async fn verify(&self, request: &VerifyRequest) -> Result<VerifyResponse, ControlError> {
        self.ask("/verify", Method::POST, request, FREED_WITHIN)
            .await
    }

    /// Keeps a file, or all in a folder, on this disk.
    pub async fn pin(&self, path: &LibraryPath) -> Result<(), ControlError> {
        self.ask(
            "/pin",
            Method::POST,
            &PinRequest { path: path.clone() },
            ANSWER_WITHIN,
        )
        .await
    }

    /// Takes a pin off.
    pub async fn unpin(&self, path: &LibraryPath) -> Result<(), ControlError> {
        self.ask(
            "/unpin",
            Method::POST,
            &PinRequest { path: path.clone() },
            ANSWER_WITHIN,
        )
        .await
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        question: &'static str,
        method: Method,
        body: &Q,
        within: Duration,
    ) -> Result<A, ControlError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(ControlError::NotRunning)?;
        let exchange = exchange(
            stream,
            question,
            method,
            serde_json::to_vec(body).map_err(|e| lost(question, e))?,
        );
        let (ok, answer) = match tokio::time::timeout(within, exchange).await {
            Ok(answered) => {
                answered.map_err(|source| ControlError::NoAnswer { question, source })?
            }
            Err(elapsed) => return Err(lost(question, elapsed)),
        };
        if !ok {
            return Err(ControlError::Refused(
                String::from_utf8_lossy(&answer).into_owned(),
            ));
        }
        serde_json::from_slice(&answer).map_err(|error| lost(question, error))
    }
}

fn lost(
    question: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> ControlError {
    ControlError::NoAnswer {
        question,
        source: Box::new(error),
    }
}

/// One request, one answer: whether it is a good one, and its body.
async fn exchange(
    stream: UnixStream,
    question: &str,
    method: Method,
    body: Vec<u8>,
) -> Result<(bool, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(question)
        .header(HOST, "heirloom")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await?;
    let ok = answer.status().is_success();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await?
        .to_bytes();
    driver.abort();
    Ok((ok, body))
}
