//! One question and its answer, within limits of time and size.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use heirloom_protocol::batch::{BatchEntry, MEDIA_TYPE};
use heirloom_protocol::{ByteRange, ContentDigest, route};
use heirloom_support::loopback::is_loopback_host;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::api_response::ApiResponse;
use super::error::RemoteError;
use super::http_client::{self, HttpClient};
use super::payload::Payload;
use super::request_body::RequestBody;
use crate::config::{Login, ServerUrl};

/// Longest time in which no byte of a body moves, in either direction, connecting included.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Longest time between the last byte of a request and the first of its answer, before what the
/// request itself adds.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Bytes in one answer, at most: 5,000 entries of the change feed with paths of a kilobyte and
/// more.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// A question with less than this in its body is asked once more on a fresh connection if the
/// server closed the old one just then. Shards and parcels are not: whoever sends them asks first
/// how much of them arrived.
const REPEAT_BYTES_MAX: usize = 1 << 20;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const AGENT: &str = concat!("heirloom/", env!("CARGO_PKG_VERSION"));

/// A question.
#[derive(Clone, Debug)]
pub(super) struct ApiRequest {
    /// Completes the sentence "while trying to".
    doing: &'static str,
    method: Method,
    path: String,
    content_type: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    body: Payload,
    /// The last so many bytes of the body are photos.
    photo_bytes: u64,
    patience: Duration,
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
            photo_bytes: 0,
            patience: ANSWER_LIMIT,
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

    pub(super) fn shard(path: &str, size: u64, digest: ContentDigest, body: Payload) -> Self {
        let headers = vec![
            (route::UPLOAD_LENGTH, size.to_string()),
            (route::CONTENT_DIGEST, digest.to_string()),
        ];
        let photo_bytes = body.len() as u64;
        Self {
            method: Method::PUT,
            content_type: Some(BYTES),
            headers,
            body,
            photo_bytes,
            ..Self::get("send a shard", path)
        }
    }

    /// A list of these images, and then they themselves.
    pub(super) fn parcel(packed: &[BatchEntry], body: Payload) -> Self {
        let doing = "send several images";
        let photo_bytes = packed.iter().map(|image| image.size).sum();
        Self {
            method: Method::POST,
            content_type: Some(MEDIA_TYPE),
            body,
            photo_bytes,
            ..Self::get(doing, route::BATCHES)
        }
    }

    /// Asks for a part of what `path` names, which has this strong entity tag (RFC 9110 section
    /// 14).
    pub(super) fn part(doing: &'static str, path: &str, range: ByteRange, tag: &str) -> Self {
        let wanted = format!("bytes={}-{}", range.start(), range.end() - 1);
        let headers = vec![("range", wanted), ("if-range", tag.to_owned())];
        Self {
            headers,
            ..Self::get(doing, path)
        }
    }

    /// Takes back what there is at a path.
    pub(super) fn delete(doing: &'static str, path: &str) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(doing, path)
        }
    }

    fn carries_photos(&self) -> bool {
        self.photo_bytes > 0
    }

    /// The same question, with so much more time for the answer.
    pub(super) fn extend_timeout(mut self, more: Duration) -> Self {
        self.patience += more;
        self
    }
}

/// Asks one server in one user's name.
#[derive(Debug)]
pub(super) struct ApiClient {
    connections: HttpClient,
    server: Uri,
    /// None before there is a login.
    authorization: Option<HeaderValue>,
    /// Bytes of photos that went out.
    photo_bytes: Arc<AtomicU64>,
}

impl ApiClient {
    pub(super) fn new(login: &Login) -> Result<Self, RemoteError> {
        let doing = "log in";
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", login.token.reveal()))
            .map_err(|source| RemoteError::InvalidRequest {
            doing,
            source: source.into(),
        })?;
        // Kept out of Debug output, and out of HTTP/2's compression tables.
        authorization.set_sensitive(true);
        let nameless = Self::nameless(&login.server, login.ca_file.as_deref())?;
        Ok(Self {
            authorization: Some(authorization),
            ..nameless
        })
    }

    /// In nobody's name: to log in.
    pub(super) fn nameless(
        server: &ServerUrl,
        ca_file: Option<&Path>,
    ) -> Result<Self, RemoteError> {
        let connections = http_client::prepare(ca_file)?;
        Ok(Self {
            connections,
            server: server.uri().clone(),
            authorization: None,
            photo_bytes: Arc::default(),
        })
    }

    /// Bytes of photos that connections took so far.
    pub(super) fn photo_bytes_sent(&self) -> u64 {
        self.photo_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_loopback(&self) -> bool {
        is_loopback_host(self.server.host().unwrap_or_default())
    }

    /// Asks, and reads the answer as a message. May be dropped at any point: the connection is then
    /// closed, or the stream reset, and the server may or may not have done what was asked.
    pub(super) async fn json<Message: DeserializeOwned>(
        &self,
        ask: ApiRequest,
    ) -> Result<Message, RemoteError> {
        let doing = ask.doing;
        let again =
            (!ask.carries_photos() && ask.body.len() <= REPEAT_BYTES_MAX).then(|| ask.clone());
        let answer = match (self.send(ask, &|| {}).await, again) {
            // A kept connection that the server closed at the same moment; every request may be
            // sent twice.
            (Err(RemoteError::Interrupted { .. }), Some(again)) => self.send(again, &|| {}).await?,
            (answer, _) => answer?,
        };
        answer.read(doing)
    }

    /// Asks once, and gives the answer as it came; `heard` is called whenever some of it has come.
    /// May be dropped at any point.
    pub(super) async fn bytes(
        &self,
        ask: ApiRequest,
        heard: &(dyn Fn() + Sync),
    ) -> Result<ApiResponse, RemoteError> {
        self.send(ask, heard).await
    }

    async fn send(
        &self,
        ask: ApiRequest,
        heard: &(dyn Fn() + Sync),
    ) -> Result<ApiResponse, RemoteError> {
        let (doing, patience) = (ask.doing, ask.patience);
        let (body, flow) = RequestBody::new(ask.body.clone());
        let body = body.counted_by(&self.photo_bytes, ask.photo_bytes);
        let response = self.connections.request(self.request(ask, body)?);
        let response = tokio::select! {
            response = response => response.map_err(|error| self.no_answer(doing, error))?,
            limit = flow.stalled(STALL_LIMIT, patience) => {
                return Err(RemoteError::TimedOut { doing, limit_s: limit.as_secs() });
            }
        };
        receive(doing, response, heard).await
    }

    fn request(
        &self,
        ask: ApiRequest,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, RemoteError> {
        let doing = ask.doing;
        let unspeakable = |source: hyper::http::Error| RemoteError::InvalidRequest {
            doing,
            source: source.into(),
        };
        let mut uri = Uri::builder().path_and_query(ask.path);
        if let (Some(scheme), Some(authority)) = (self.server.scheme(), self.server.authority()) {
            uri = uri.scheme(scheme.clone()).authority(authority.clone());
        }
        let mut request = Request::builder()
            .method(ask.method)
            .uri(uri.build().map_err(unspeakable)?)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, JSON);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(content_type) = ask.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        request.body(body).map_err(unspeakable)
    }

    fn no_answer(&self, doing: &'static str, error: legacy::Error) -> RemoteError {
        let server = self
            .server
            .authority()
            .map_or_else(|| self.server.to_string(), ToString::to_string);
        if !error.is_connect() {
            return RemoteError::Interrupted {
                doing,
                source: error.into(),
            };
        }
        if speaks_of_tls(&error) {
            return RemoteError::Untrusted {
                server,
                source: error.into(),
            };
        }
        RemoteError::Unreachable {
            server,
            source: error.into(),
        }
    }
}

/// Whether TLS, rather than the network, is what failed.
fn speaks_of_tls(error: &(dyn StdError + 'static)) -> bool {
    // The `source` of an io::Error skips the error that it wraps.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(inner) => speaks_of_tls(inner),
        None => error.is::<rustls::Error>() || error.source().is_some_and(speaks_of_tls),
    }
}

/// The rest of an answer, as long as it keeps coming and stays within its size.
async fn receive(
    doing: &'static str,
    response: Response<Incoming>,
    heard: &(dyn Fn() + Sync),
) -> Result<ApiResponse, RemoteError> {
    let (head, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    while let Some(frame) =
        timeout(STALL_LIMIT, incoming.frame())
            .await
            .map_err(|_| RemoteError::TimedOut {
                doing,
                limit_s: STALL_LIMIT.as_secs(),
            })?
    {
        let frame = frame.map_err(|error| RemoteError::Interrupted {
            doing,
            source: error.into(),
        })?;
        heard();
        body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        if body.len() > ANSWER_BYTES_MAX {
            return Err(RemoteError::Malformed {
                doing,
                why: "it is too long".to_owned(),
            });
        }
    }
    Ok(ApiResponse {
        status: head.status,
        headers: head.headers,
        body: body.freeze(),
    })
}
