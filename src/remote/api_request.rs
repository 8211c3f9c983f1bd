//! A request to the server's API, before it is sent.

use std::time::Duration;

use heirloom_protocol::batch::{BatchEntry, MEDIA_TYPE};
use heirloom_protocol::{ByteRange, ContentDigest, route};
use hyper::Method;
use serde::Serialize;

use super::error::RemoteError;
use super::payload::Payload;

/// Longest time between the last byte of a request and the first of its response, before what the
/// request itself adds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// A request with at most this many bytes in its body is sent once more on a new connection if the
/// server closed the old one just then. Shards and batches are not: their sender asks first how
/// much of them arrived.
const REPEAT_BYTES_MAX: usize = 1 << 20;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// A request to the server's API.
#[derive(Clone, Debug)]
pub(super) struct ApiRequest {
    /// Completes the sentence "while trying to".
    pub(super) doing: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Payload,
    /// How many bytes at the end of the body are image bytes.
    pub(super) image_bytes: u64,
    /// Longest time between the last byte of the request and the first of its response.
    pub(super) timeout: Duration,
}

impl ApiRequest {
    pub(super) fn get(doing: &'static str, path: &str) -> Self {
        Self {
            doing,
            method: Method::GET,
            path: path.to_owned(),
            content_type: None,
            headers: Vec::new(),
            body: Payload::default(),
            image_bytes: 0,
            timeout: RESPONSE_TIMEOUT,
        }
    }

    pub(super) fn json<Message: Serialize + ?Sized>(
        doing: &'static str,
        method: Method,
        path: &str,
        message: &Message,
    ) -> Result<Self, RemoteError> {
        let body = serde_json::to_vec(message).map_err(|source| RemoteError::InvalidRequest {
            doing,
            source: source.into(),
        })?;
        Ok(Self {
            method,
            content_type: Some(JSON),
            body: body.into(),
            ..Self::get(doing, path)
        })
    }

    /// Sends one shard of an image of `size` bytes.
    pub(super) fn shard(path: &str, size: u64, digest: ContentDigest, body: Payload) -> Self {
        let headers = vec![
            (route::UPLOAD_LENGTH, size.to_string()),
            (route::CONTENT_DIGEST, digest.to_string()),
        ];
        let image_bytes = body.len() as u64;
        Self {
            method: Method::PUT,
            content_type: Some(BYTES),
            headers,
            body,
            image_bytes,
            ..Self::get("send a shard", path)
        }
    }

    /// Sends a batch: `body` is the list of these images, followed by the images.
    pub(super) fn batch(images: &[BatchEntry], body: Payload) -> Self {
        let image_bytes = images.iter().map(|image| image.size).sum();
        Self {
            method: Method::POST,
            content_type: Some(MEDIA_TYPE),
            body,
            image_bytes,
            ..Self::get("send several images", route::BATCHES)
        }
    }

    /// Fetches a byte range of what `path` names, if it still has this strong entity tag (RFC 9110
    /// section 14).
    pub(super) fn range(doing: &'static str, path: &str, range: ByteRange, tag: &str) -> Self {
        let wanted = format!("bytes={}-{}", range.start(), range.end() - 1);
        let headers = vec![("range", wanted), ("if-range", tag.to_owned())];
        Self {
            headers,
            ..Self::get(doing, path)
        }
    }

    pub(super) fn delete(doing: &'static str, path: &str) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(doing, path)
        }
    }

    /// Allows more time for the response: the server reads from its disk first, or this is a long
    /// poll.
    pub(super) fn extend_timeout(mut self, more: Duration) -> Self {
        self.timeout += more;
        self
    }

    /// Whether the request may be sent once more if the connection was closed just then.
    pub(super) fn may_repeat(&self) -> bool {
        self.image_bytes == 0 && self.body.len() <= REPEAT_BYTES_MAX
    }
}
