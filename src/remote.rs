//! The server, as seen from here: what it can be asked, and how long an answer may take.
//!
//! One `Remote` is one login. It is cheap to clone; all clones share the connections and the
//! session. Nothing here retries for long or decides what a refusal means: that is for the rooms
//! above. Two things are settled here for good: no redirect is ever followed (the token would go
//! with it), and no answer is believed that speaks of something else than what was asked.

mod api_response;
mod request_body;
mod http_client;
mod error;
mod api_client;
mod image;
mod login;
mod payload;
mod trash;
#[cfg(test)]
pub(crate) mod fake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::{
    CheckImage, CheckedImage, LibraryBatch, LibraryFeed, LibraryOutcomes, Receipt, ServerStatus,
    Session, UploadState,
};
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, route};
pub use heirloom_support::backoff::Backoff;
use hyper::Method;
use tokio::sync::Mutex;

#[cfg(any(test, fuzzing))]
pub use api_response::trial as answers_trial;
pub use error::RemoteError;
pub use login::log_in;
pub use payload::Payload;

use crate::config::Login;
use api_client::{ApiClient, ApiRequest};

/// What a server can surely read and hash in a second, from a slow disk: a request that makes it
/// read an image back gets so much more time.
const SERVER_READS_PER_SECOND: u64 = 32 << 20;

/// A server, and the right to speak to it.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Arc<ApiClient>,
    session: Arc<Mutex<Option<HeldSession>>>,
}

/// A session, as long as its nonce is the newest.
#[derive(Debug)]
struct HeldSession {
    session: Session,
    renewal: Instant,
}

impl Remote {
    /// Prepares to speak to a server; connects when first asked. Reads the certificate authorities
    /// to trust, so it blocks for a moment.
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

    /// Who we are, and what holds for us. Kept until its nonce runs out; at most one request at a
    /// time.
    pub async fn session(&self) -> Result<Session, RemoteError> {
        let mut held = self.session.lock().await;
        match &*held {
            Some(now) if Instant::now() < now.renewal => Ok(now.session.clone()),
            Some(_) | None => self.ask_session(&mut held).await,
        }
    }

    /// The same, asked anew: tells whether the server answers, and whether it still knows us.
    pub async fn renewed_session(&self) -> Result<Session, RemoteError> {
        self.ask_session(&mut *self.session.lock().await).await
    }

    async fn ask_session(&self, held: &mut Option<HeldSession>) -> Result<Session, RemoteError> {
        *held = None;
        let session: Session = self
            .client
            .json(ApiRequest::get("ask for the session", route::SESSION))
            .await?;
        let renewal =
            Instant::now() + Duration::from_secs(session.nonce_renewal_s.min(MAX_SESSION_S));
        *held = Some(HeldSession {
            session: session.clone(),
            renewal,
        });
        Ok(session)
    }

    /// The detection request (M4): what the server has of each image, in the order asked.
    pub async fn check(&self, images: &[CheckImage]) -> Result<Vec<CheckedImage>, RemoteError> {
        let proven = images
            .iter()
            .filter(|image| image.proof.is_some())
            .map(|image| image.size)
            .sum();
        let ask = ApiRequest::json("check images", Method::POST, route::CHECK, images)?
            .extend_timeout(reading_time(proven));
        let checked: Vec<CheckedImage> = self.client.json(ask).await?;
        api_response::agree_on_images("check images", images, &checked)?;
        Ok(checked)
    }

    /// Sends one shard (M5): the bytes at `offset` of an image of `size` bytes. When it returns,
    /// the server has made durable what it says. May be dropped half-way; then the server has the
    /// shard or not.
    pub async fn put_shard(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        offset: u64,
        digest: ContentDigest,
        bytes: Payload,
    ) -> Result<UploadState, RemoteError> {
        let ask = ApiRequest::shard(&route::shard(fingerprint, offset), size, digest, bytes)
            .extend_timeout(reading_time(size));
        let state = self.client.json(ask).await?;
        api_response::agree_on_upload("send a shard", fingerprint, Some(size), &state)?;
        Ok(state)
    }

    /// Bytes of photos that connections took from us so far, whatever became of them.
    pub fn photo_bytes_sent(&self) -> u64 {
        self.client.photo_bytes_sent()
    }

    /// Sends several images, whole, in one request: `body` is their parcel. What became of each, in
    /// order; what is stored is durable. May be dropped half-way; then the server has them or not.
    pub async fn send_parcel(
        &self,
        packed: &[BatchEntry],
        body: Payload,
    ) -> Result<Vec<BatchOutcome>, RemoteError> {
        let patience = reading_time(body.len() as u64);
        let unpacked: Vec<BatchOutcome> = self
            .client
            .json(ApiRequest::parcel(packed, body).extend_timeout(patience))
            .await?;
        api_response::agree_on_parcel(packed, &unpacked)?;
        Ok(unpacked)
    }

    /// The server's interruption list for an image (M6); nothing if it has no such upload.
    pub async fn upload(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<Option<UploadState>, RemoteError> {
        const DOING: &str = "ask how far an upload is";
        match self
            .client
            .json(ApiRequest::get(DOING, &route::upload(fingerprint)))
            .await
        {
            Ok(state) => api_response::agree_on_upload(DOING, fingerprint, None, &state)
                .map(|()| Some(state)),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Carries out changes to the library (M11): an outcome for each, in order.
    pub async fn change_library(
        &self,
        batch: &LibraryBatch,
    ) -> Result<LibraryOutcomes, RemoteError> {
        const DOING: &str = "change the library";
        let outcomes: LibraryOutcomes = self
            .client
            .json(ApiRequest::json(
                DOING,
                Method::POST,
                route::LIBRARY_CHANGES,
                batch,
            )?)
            .await?;
        api_response::agree_on_count(DOING, batch.changes.len(), outcomes.outcomes.len())?;
        Ok(outcomes)
    }

    /// What changed in the library behind `since`, waiting up to `wait_s` seconds for news.
    pub async fn library_feed(&self, since: u64, wait_s: u64) -> Result<LibraryFeed, RemoteError> {
        let path = route::library_feed(since, wait_s);
        self.client
            .json(
                ApiRequest::get("read the change feed", &path)
                    .extend_timeout(Duration::from_secs(wait_s)),
            )
            .await
    }

    /// What this user has on the server.
    pub async fn status(&self) -> Result<ServerStatus, RemoteError> {
        self.client
            .json(ApiRequest::get(
                "ask for the server's status",
                route::STATUS,
            ))
            .await
    }
}

/// However long a server says its nonce lasts, ask again after a day.
const MAX_SESSION_S: u64 = 24 * 3600;

/// How much longer an answer may take for which the server reads `bytes` back.
fn reading_time(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SERVER_READS_PER_SECOND)
}

/// Whether a receipt speaks of this image.
fn is_of(receipt: &Receipt, fingerprint: Fingerprint, size: Option<u64>) -> bool {
    receipt.fingerprint == fingerprint && size.is_none_or(|size| receipt.size == size)
}

#[cfg(test)]
mod tests;
