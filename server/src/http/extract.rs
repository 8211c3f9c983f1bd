//! Extractors: paths and JSON bodies become validated types, or an error response.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use heirloom_protocol::{ErrorCode, Fingerprint};
use serde::de::DeserializeOwned;

use super::ErrorResponse;
use super::body::body_error;
use super::error::sender_error;

/// Extractor: the `{fingerprint}` of a path.
pub(super) struct ImagePath(pub(super) Fingerprint);

/// Extractor: the `{fingerprint}` and `{offset}` of a path.
pub(super) struct ShardPath {
    pub(super) fingerprint: Fingerprint,
    pub(super) offset: u64,
}

impl<S: Send + Sync> FromRequestParts<S> for ImagePath {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let names = path_parameters(parts, state).await?;
        fingerprint(&names).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ShardPath {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let names = path_parameters(parts, state).await?;
        let offset =
            value(&names, "offset").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let offset = offset.and_then(|text| text.parse().ok());
        let offset = offset.ok_or_else(|| {
            ErrorResponse::new(
                ErrorCode::MalformedRequest,
                "the offset must be a number of bytes",
            )
        })?;
        Ok(Self {
            fingerprint: fingerprint(&names)?,
            offset,
        })
    }
}

async fn path_parameters<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<RawPathParams, ErrorResponse> {
    let names = RawPathParams::from_request_parts(parts, state).await;
    names.map_err(|_| ErrorResponse::new(ErrorCode::MalformedRequest, "the path is not UTF-8"))
}

fn value<'a>(names: &'a RawPathParams, name: &str) -> Option<&'a str> {
    names
        .iter()
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn fingerprint(names: &RawPathParams) -> Result<Fingerprint, ErrorResponse> {
    let text = value(names, "fingerprint").unwrap_or_default();
    text.parse()
        .map_err(|_| ErrorCode::MalformedFingerprint.into())
}

/// A message that a route accepts as JSON body.
pub(super) trait JsonMessage: DeserializeOwned + Send {
    /// Maximum size of the body in bytes.
    const BYTES_MAX: usize;

    /// The error code for a body that is not this message. It tells the client which part is wrong.
    fn error_code(body: &[u8]) -> ErrorCode;

    /// Whether the message has more entries than one request may have.
    fn is_over_limit(&self) -> bool;
}

/// Extractor: a JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Sync, T: JsonMessage> FromRequest<S> for JsonBody<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorResponse> {
        let (parts, body) = request.into_parts();
        require_json(&parts.headers)?;
        require_no_encoding(&parts.headers)?;
        if content_length(&parts.headers)?.is_some_and(|length| length > T::BYTES_MAX as u64) {
            return Err(ErrorCode::BodyTooLarge.into());
        }
        let body = collect(body, T::BYTES_MAX).await?;
        let message: T = serde_json::from_slice(&body)
            .map_err(|error| ErrorResponse::new(T::error_code(&body), error.to_string()))?;
        if message.is_over_limit() {
            return Err(ErrorCode::BatchTooLarge.into());
        }
        Ok(Self(message))
    }
}

async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, ErrorResponse> {
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| sender_error(&body_error(error)))?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(ErrorCode::BodyTooLarge.into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn require_json(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ErrorResponse::new(
            ErrorCode::UnsupportedMediaType,
            "use Content-Type: application/json",
        ))
    }
}

/// Rejects compressed bodies: the limits apply to the bytes as sent.
pub(super) fn require_no_encoding(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let plain =
        |value: &axum::http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        Ok(())
    } else {
        Err(ErrorResponse::new(
            ErrorCode::UnsupportedMediaType,
            "send the body without Content-Encoding",
        ))
    }
}

/// The value of `Content-Length` in bytes, if there is one.
pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ErrorResponse> {
    let Some(value) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| {
        ErrorResponse::new(
            ErrorCode::MalformedRequest,
            "Content-Length must be a number",
        )
    })
}

/// Fuzz target: `bytes` as the body of every route that accepts JSON (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    use heirloom_protocol::message::{CheckImage, LibraryBatch, LoginRequest};

    fn check<T: JsonMessage>(bytes: &[u8]) {
        match serde_json::from_slice::<T>(bytes) {
            Ok(message) => assert!(!message.is_over_limit() || bytes.len() > 1000),
            Err(_) => assert!(T::error_code(bytes).status() == 400),
        }
    }
    check::<Vec<CheckImage>>(bytes);
    check::<LibraryBatch>(bytes);
    check::<LoginRequest>(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_json_body_is_misread() {
        heirloom_fuzz::replay("messages", super::fuzz);
    }
}
