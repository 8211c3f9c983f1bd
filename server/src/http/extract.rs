//! Parsing: paths and JSON bodies become types that need no further checking, or a refusal.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use heirloom_protocol::{ErrorCode, Fingerprint};
use serde::de::DeserializeOwned;

use super::Refusal;
use super::body::arrival_error;
use super::error::sender_failed;

/// The `{fingerprint}` of a path.
pub(super) struct NamedImage(pub(super) Fingerprint);

/// The `{fingerprint}` and `{offset}` of a path.
pub(super) struct NamedShard {
    pub(super) fingerprint: Fingerprint,
    pub(super) offset: u64,
}

impl<S: Send + Sync> FromRequestParts<S> for NamedImage {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let names = named(parts, state).await?;
        fingerprint(&names).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamedShard {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let names = named(parts, state).await?;
        let offset =
            value(&names, "offset").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let offset = offset.and_then(|text| text.parse().ok());
        let offset = offset.ok_or_else(|| {
            Refusal::because(
                ErrorCode::MalformedRequest,
                "an offset is a number of bytes",
            )
        })?;
        Ok(Self {
            fingerprint: fingerprint(&names)?,
            offset,
        })
    }
}

async fn named<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Refusal> {
    let names = RawPathParams::from_request_parts(parts, state).await;
    names.map_err(|_| Refusal::because(ErrorCode::MalformedRequest, "the path is not UTF-8"))
}

fn value<'a>(names: &'a RawPathParams, name: &str) -> Option<&'a str> {
    names
        .iter()
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn fingerprint(names: &RawPathParams) -> Result<Fingerprint, Refusal> {
    let text = value(names, "fingerprint").unwrap_or_default();
    text.parse()
        .map_err(|_| ErrorCode::MalformedFingerprint.into())
}

/// What a JSON body may be.
pub(super) trait Message: DeserializeOwned + Send {
    /// Bytes, at most.
    const BYTES_MAX: usize;

    /// The code for a body that is not this message: a client should hear which part of it was
    /// wrong.
    fn wrong_in(body: &[u8]) -> ErrorCode;

    /// Whether it has more entries than one request may have.
    fn exceeds_its_limit(&self) -> bool;
}

/// A JSON body.
pub(super) struct Said<T>(pub(super) T);

impl<S: Sync, T: Message> FromRequest<S> for Said<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        is_plain(&parts.headers)?;
        if content_length(&parts.headers)?.is_some_and(|length| length > T::BYTES_MAX as u64) {
            return Err(ErrorCode::BodyTooLarge.into());
        }
        let body = collect(body, T::BYTES_MAX).await?;
        let message: T = serde_json::from_slice(&body)
            .map_err(|error| Refusal::because(T::wrong_in(&body), error.to_string()))?;
        if message.exceeds_its_limit() {
            return Err(ErrorCode::BatchTooLarge.into());
        }
        Ok(Self(message))
    }
}

async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut pieces = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| sender_failed(&arrival_error(error)))?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(ErrorCode::BodyTooLarge.into());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Refusal::because(
            ErrorCode::UnsupportedMediaType,
            "this route takes application/json",
        ))
    }
}

/// Refuses compressed bodies: their limits would be of the wrong bytes.
pub(super) fn is_plain(headers: &HeaderMap) -> Result<(), Refusal> {
    let plain =
        |value: &axum::http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        Ok(())
    } else {
        Err(Refusal::because(
            ErrorCode::UnsupportedMediaType,
            "bodies are sent without Content-Encoding",
        ))
    }
}

/// The body's announced length; none if there is no announcement.
pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| Refusal::because(ErrorCode::MalformedRequest, "Content-Length is a number"))
}

/// Puts made-up bytes on trial as the body of every route that takes JSON (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn trial(bytes: &[u8]) {
    use heirloom_protocol::message::{CheckImage, LibraryBatch, LoginRequest};

    fn judge<T: Message>(bytes: &[u8]) {
        match serde_json::from_slice::<T>(bytes) {
            Ok(message) => assert!(!message.exceeds_its_limit() || bytes.len() > 1000),
            Err(_) => assert!(T::wrong_in(bytes).status() == 400),
        }
    }
    judge::<Vec<CheckImage>>(bytes);
    judge::<LibraryBatch>(bytes);
    judge::<LoginRequest>(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_body_is_misread() {
        heirloom_fuzz::replay("messages", super::trial);
    }
}
