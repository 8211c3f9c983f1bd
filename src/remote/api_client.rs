//! The API client: sends one request and reads its response, within limits of time and size.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use heirloom_support::loopback::is_loopback_host;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::api_request::ApiRequest;
use super::api_response::ApiResponse;
use super::error::RemoteError;
use super::http_client::{self, HttpClient};
use super::request_body::RequestBody;
use crate::config::{Login, ServerUrl};

/// Longest time in which no byte of a body moves, in either direction, connecting included.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes in one response, at most: 5,000 entries of the change feed with paths of a kilobyte and
/// more.
const RESPONSE_BYTES_MAX: usize = 8 << 20;

const ACCEPTED_TYPE: &str = "application/json";
const AGENT: &str = concat!("heirloom/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one server, for one login.
#[derive(Debug)]
pub(super) struct ApiClient {
    connections: HttpClient,
    server: Uri,
    /// None before there is a login.
    authorization: Option<HeaderValue>,
    /// Image bytes that connections took from us.
    image_bytes: Arc<AtomicU64>,
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
        let anonymous = Self::anonymous(&login.server, login.ca_file.as_deref())?;
        Ok(Self {
            authorization: Some(authorization),
            ..anonymous
        })
    }

    /// A client without a token: for logging in.
    pub(super) fn anonymous(
        server: &ServerUrl,
        ca_file: Option<&Path>,
    ) -> Result<Self, RemoteError> {
        let connections = http_client::build(ca_file)?;
        Ok(Self {
            connections,
            server: server.uri().clone(),
            authorization: None,
            image_bytes: Arc::default(),
        })
    }

    /// Image bytes that connections took so far.
    pub(super) fn image_bytes_sent(&self) -> u64 {
        self.image_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.server.host().is_some_and(is_loopback_host)
    }

    /// Sends a request and parses the response. May be dropped at any point: the connection is then
    /// closed, or the stream reset, and the server has carried out the request or not.
    pub(super) async fn json<Message: DeserializeOwned>(
        &self,
        request: ApiRequest,
    ) -> Result<Message, RemoteError> {
        let doing = request.doing;
        let repeat = request.may_repeat().then(|| request.clone());
        let response = match (self.send(request, &|| {}).await, repeat) {
            // The server closed a kept connection at the same moment; every request may be sent
            // twice.
            (Err(RemoteError::Interrupted { .. }), Some(repeat)) => {
                self.send(repeat, &|| {}).await?
            }
            (response, _) => response?,
        };
        response.parse(doing)
    }

    /// Sends a request once and returns the response unparsed; `on_data` is called whenever some of
    /// it arrived. May be dropped at any point.
    pub(super) async fn bytes(
        &self,
        request: ApiRequest,
        on_data: &(dyn Fn() + Sync),
    ) -> Result<ApiResponse, RemoteError> {
        self.send(request, on_data).await
    }

    async fn send(
        &self,
        request: ApiRequest,
        on_data: &(dyn Fn() + Sync),
    ) -> Result<ApiResponse, RemoteError> {
        let (doing, response_timeout) = (request.doing, request.timeout);
        let (body, progress) = RequestBody::new(request.body.clone());
        let body = body.count_last(request.image_bytes, &self.image_bytes);
        let response = self.connections.request(self.build(request, body)?);
        let response = tokio::select! {
            response = response => response.map_err(|error| self.no_response(doing, error))?,
            limit = progress.stalled(STALL_TIMEOUT, response_timeout) => {
                return Err(RemoteError::TimedOut { doing, limit_s: limit.as_secs() });
            }
        };
        receive(doing, response, on_data).await
    }

    fn build(
        &self,
        request: ApiRequest,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, RemoteError> {
        let doing = request.doing;
        let invalid = |source: hyper::http::Error| RemoteError::InvalidRequest {
            doing,
            source: source.into(),
        };
        let mut uri = Uri::builder().path_and_query(request.path);
        if let (Some(scheme), Some(authority)) = (self.server.scheme(), self.server.authority()) {
            uri = uri.scheme(scheme.clone()).authority(authority.clone());
        }
        let mut builder = Request::builder()
            .method(request.method)
            .uri(uri.build().map_err(invalid)?)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, ACCEPTED_TYPE);
        if let Some(authorization) = &self.authorization {
            builder = builder.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(content_type) = request.content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        builder.body(body).map_err(invalid)
    }

    fn no_response(&self, doing: &'static str, error: legacy::Error) -> RemoteError {
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
        if is_tls_error(&error) {
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

/// Whether TLS, rather than the network, failed.
fn is_tls_error(error: &(dyn StdError + 'static)) -> bool {
    // The `source` of an io::Error skips the error that it wraps.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(inner) => is_tls_error(inner),
        None => error.is::<rustls::Error>() || error.source().is_some_and(is_tls_error),
    }
}

/// Reads the rest of a response, as long as bytes keep coming and it stays within its size limit.
async fn receive(
    doing: &'static str,
    response: Response<Incoming>,
    on_data: &(dyn Fn() + Sync),
) -> Result<ApiResponse, RemoteError> {
    let (head, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    while let Some(frame) = timeout(STALL_TIMEOUT, incoming.frame())
        .await
        .map_err(|_| RemoteError::TimedOut {
            doing,
            limit_s: STALL_TIMEOUT.as_secs(),
        })?
    {
        let frame = frame.map_err(|error| RemoteError::Interrupted {
            doing,
            source: error.into(),
        })?;
        on_data();
        body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        if body.len() > RESPONSE_BYTES_MAX {
            return Err(RemoteError::Malformed {
                doing,
                why: "the response is too long".to_owned(),
            });
        }
    }
    Ok(ApiResponse {
        status: head.status,
        headers: head.headers,
        body: body.freeze(),
    })
}
