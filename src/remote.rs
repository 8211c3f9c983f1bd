//! The server as the client sees it: the requests it answers, and how long each may take.
//!
//! A `Remote` is one login at one server. It is cheap to clone; all clones share the connections
//! and the session. Nothing here retries for long or decides what a refusal means: that is for the
//! modules above. Two rules hold for every request: no redirect is followed (the token would go
//! with it), and no response is accepted that is about something else than the request.

mod api_client;
mod api_request;
mod api_response;
mod error;
mod http_client;
mod image;
mod login;
mod payload;
mod request_body;
mod trash;
mod upload_server;
#[cfg(test)]
pub(crate) mod fake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::{
    CheckImage, CheckedImage, LibraryBatch, LibraryFeed, LibraryOutcomes, ServerStatus, Session,
    UploadState,
};
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, route};
use hyper::Method;
use tokio::sync::Mutex;

#[cfg(any(test, fuzzing))]
pub use api_response::fuzz as fuzz_responses;
pub use error::RemoteError;
pub use heirloom_support::backoff::Backoff;
pub use login::log_in;
pub use payload::Payload;
pub use upload_server::UploadServer;

use crate::config::Login;
use api_client::ApiClient;
use api_request::ApiRequest;

/// Bytes per second that a server can be expected to read and hash from a slow disk: a request that
/// makes it read an image gets that much more time.
const SERVER_READ_BYTES_PER_SECOND: u64 = 32 << 20;
/// Seconds that a session is kept, at most, however long the server says its nonce is valid.
const SESSION_SECONDS_MAX: u64 = 24 * 3600;

/// A login at a server: the connections and the session.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Arc<ApiClient>,
    session: Arc<Mutex<Option<CachedSession>>>,
}

/// A session, until its nonce has to be renewed.
#[derive(Debug)]
struct CachedSession {
    session: Session,
    renew_at: Instant,
}

impl Remote {
    /// Prepares the connections; the first request connects. Reads the certificate authorities to
    /// trust, so it blocks for a moment.
    pub fn new(login: &Login) -> Result<Self, RemoteError> {
        Ok(Self {
            client: Arc::new(ApiClient::new(login)?),
            session: Arc::default(),
        })
    }

    /// Whether the server is this machine.
    pub fn is_loopback(&self) -> bool {
        self.client.is_loopback()
    }

    /// The session: the user, the server's limits, and the nonce for proofs. Kept until the nonce
    /// has to be renewed; at most one request at a time.
    pub async fn session(&self) -> Result<Session, RemoteError> {
        let mut cached = self.session.lock().await;
        match &*cached {
            Some(cached) if Instant::now() < cached.renew_at => Ok(cached.session.clone()),
            Some(_) | None => self.request_session(&mut cached).await,
        }
    }

    /// The session, always requested anew: this shows whether the server answers and still accepts
    /// the token.
    pub async fn renewed_session(&self) -> Result<Session, RemoteError> {
        self.request_session(&mut *self.session.lock().await).await
    }

    async fn request_session(
        &self,
        cached: &mut Option<CachedSession>,
    ) -> Result<Session, RemoteError> {
        *cached = None;
        let session: Session = self
            .client
            .json(ApiRequest::get("get the session", route::SESSION))
            .await?;
        let valid_s = session.nonce_renewal_s.min(SESSION_SECONDS_MAX);
        *cached = Some(CachedSession {
            session: session.clone(),
            renew_at: Instant::now() + Duration::from_secs(valid_s),
        });
        Ok(session)
    }

    /// The batched check: what the server has of each image, in the order of the request.
    pub async fn check(&self, images: &[CheckImage]) -> Result<Vec<CheckedImage>, RemoteError> {
        const DOING: &str = "check images";
        let proven_bytes = images
            .iter()
            .filter(|image| image.proof.is_some())
            .map(|image| image.size)
            .sum();
        let request = ApiRequest::json(DOING, Method::POST, route::CHECK, images)?
            .extend_timeout(server_read_time(proven_bytes));
        let checked: Vec<CheckedImage> = self.client.json(request).await?;
        api_response::verify_checked(DOING, images, &checked)?;
        Ok(checked)
    }

    /// Sends one shard: the bytes at `offset` of an image of `size` bytes. When this returns, the
    /// server has made durable what it says. May be dropped half-way; then the server has the shard
    /// or not.
    pub async fn put_shard(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        offset: u64,
        digest: ContentDigest,
        bytes: Payload,
    ) -> Result<UploadState, RemoteError> {
        let path = route::shard(fingerprint, offset);
        let request =
            ApiRequest::shard(&path, size, digest, bytes).extend_timeout(server_read_time(size));
        let state = self.client.json(request).await?;
        api_response::verify_upload("send a shard", fingerprint, Some(size), &state)?;
        Ok(state)
    }

    /// Image bytes that connections took from us so far, whether they arrived or not.
    pub fn image_bytes_sent(&self) -> u64 {
        self.client.image_bytes_sent()
    }

    /// Sends several whole images in one request; `body` is their batch. Returns the result of
    /// each, in order; what is stored is durable. May be dropped half-way; then the server has them
    /// or not.
    pub async fn send_batch(
        &self,
        images: &[BatchEntry],
        body: Payload,
    ) -> Result<Vec<BatchOutcome>, RemoteError> {
        let timeout = server_read_time(body.len() as u64);
        let request = ApiRequest::batch(images, body).extend_timeout(timeout);
        let results: Vec<BatchOutcome> = self.client.json(request).await?;
        api_response::verify_batch(images, &results)?;
        Ok(results)
    }

    /// The server's interruption list for an image; nothing if it has no such upload.
    pub async fn upload_state(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<Option<UploadState>, RemoteError> {
        const DOING: &str = "get the state of an upload";
        let request = ApiRequest::get(DOING, &route::upload(fingerprint));
        match self.client.json(request).await {
            Ok(state) => {
                api_response::verify_upload(DOING, fingerprint, None, &state).map(|()| Some(state))
            }
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies changes to the library; returns an outcome for each, in order.
    pub async fn change_library(
        &self,
        batch: &LibraryBatch,
    ) -> Result<LibraryOutcomes, RemoteError> {
        const DOING: &str = "change the library";
        let request = ApiRequest::json(DOING, Method::POST, route::LIBRARY_CHANGES, batch)?;
        let outcomes: LibraryOutcomes = self.client.json(request).await?;
        api_response::verify_count(DOING, batch.changes.len(), outcomes.outcomes.len())?;
        Ok(outcomes)
    }

    /// The changes of the library after version `since`. A long poll: if there are none, the server
    /// waits up to `wait_s` seconds for one.
    pub async fn library_feed(&self, since: u64, wait_s: u64) -> Result<LibraryFeed, RemoteError> {
        let path = route::library_feed(since, wait_s);
        let request = ApiRequest::get("read the change feed", &path)
            .extend_timeout(Duration::from_secs(wait_s));
        self.client.json(request).await
    }

    /// The user's images and bytes on the server.
    pub async fn status(&self) -> Result<ServerStatus, RemoteError> {
        self.client
            .json(ApiRequest::get("get the server's status", route::STATUS))
            .await
    }
}

/// How much longer a response may take for which the server reads `bytes` from its disk.
fn server_read_time(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SERVER_READ_BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests;
