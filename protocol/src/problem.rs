//! What went wrong, in the one form that every error answer has: RFC 9457
//! `application/problem+json` with a code from a closed list.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The media type of an error answer (RFC 9457 section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Every error an answer can carry. A client decides by the code, never by the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No token, or one that is not good (any more).
    LoginNeeded,
    /// There is no such user, or the password is wrong: which of them is not told.
    LoginRefused,
    /// The token is good, but not for this: its scope is too narrow.
    ScopeTooNarrow,
    /// No such route, image or upload, as far as this user may know.
    NotFound,
    /// The route is there, but not for this verb.
    MethodNotAllowed,
    /// The request is not HTTP as RFC 9110 and 9112 have it, or a parameter is wrong.
    MalformedRequest,
    /// The body is not the JSON that the route takes, or has an unknown field.
    MalformedBody,
    /// Not 64 lower-case hex digits.
    MalformedFingerprint,
    /// No place in a library: see [`crate::path::PathError`].
    MalformedPath,
    /// The body is of a type or an encoding that the route does not take.
    UnsupportedMediaType,
    /// A body needs a Content-Length, an upload its Upload-Length.
    LengthRequired,
    /// More bytes than the route takes.
    BodyTooLarge,
    /// More entries than one batch may have.
    BatchTooLarge,
    /// More bytes than an image may have.
    ImageTooLarge,
    /// A shard without a byte, or an image without one.
    EmptyShard,
    /// A shard that ends behind the image.
    ShardOutOfBounds,
    /// `Upload-Length` is not what the upload's first shard said.
    LengthMismatch,
    /// A shard without a `Content-Digest` that can be read.
    DigestMissing,
    /// The shard's bytes are not those of its `Content-Digest`. Nothing was stored: send it again.
    DigestMismatch,
    /// The whole image does not have its fingerprint. All of it was dropped: start over.
    FingerprintMismatch,
    /// The range asked for lies outside the image.
    RangeNotSatisfiable,
    /// The request took too long to arrive.
    RequestTimeout,
    /// The user does not hold the image that a library change names.
    ImageNotHeld,
    /// Too many requests for now: `Retry-After` says how long.
    TooManyRequests,
    /// The server's disk is full.
    StorageFull,
    /// The image does not fit into what this user may hold.
    QuotaExceeded,
    /// The server is stopping or overloaded: try again.
    Unavailable,
    /// A fault of the server's own. Its log says more.
    Internal,
}

impl ErrorCode {
    /// All of them, in the order of the list above.
    pub const ALL: [Self; 28] = [
        Self::LoginNeeded,
        Self::LoginRefused,
        Self::ScopeTooNarrow,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::MalformedRequest,
        Self::MalformedBody,
        Self::MalformedFingerprint,
        Self::MalformedPath,
        Self::UnsupportedMediaType,
        Self::LengthRequired,
        Self::BodyTooLarge,
        Self::BatchTooLarge,
        Self::ImageTooLarge,
        Self::EmptyShard,
        Self::ShardOutOfBounds,
        Self::LengthMismatch,
        Self::DigestMissing,
        Self::DigestMismatch,
        Self::FingerprintMismatch,
        Self::RangeNotSatisfiable,
        Self::RequestTimeout,
        Self::ImageNotHeld,
        Self::TooManyRequests,
        Self::StorageFull,
        Self::QuotaExceeded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The HTTP status (RFC 9110 section 15). Decided here, once for each code.
    pub const fn status(self) -> u16 {
        match self {
            Self::MalformedRequest
            | Self::MalformedBody
            | Self::MalformedFingerprint
            | Self::MalformedPath
            | Self::EmptyShard
            | Self::ShardOutOfBounds
            | Self::DigestMissing
            | Self::DigestMismatch => 400,
            Self::LoginNeeded | Self::LoginRefused => 401,
            Self::ScopeTooNarrow => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::LengthMismatch | Self::ImageNotHeld => 409,
            Self::LengthRequired => 411,
            Self::BodyTooLarge | Self::BatchTooLarge | Self::ImageTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::FingerprintMismatch => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::StorageFull | Self::QuotaExceeded => 507,
        }
    }

    /// One line for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::LoginNeeded => "login needed",
            Self::LoginRefused => "no such user, or another password",
            Self::ScopeTooNarrow => "this token may not do that",
            Self::NotFound => "not found",
            Self::MethodNotAllowed => "this route does not take this method",
            Self::MalformedRequest => "the request is malformed",
            Self::MalformedBody => "the body is not the JSON this route takes",
            Self::MalformedFingerprint => "a fingerprint is 64 lower-case hex digits",
            Self::MalformedPath => "the path is not a place in a library",
            Self::UnsupportedMediaType => "this route does not take this type of body",
            Self::LengthRequired => "a length is required",
            Self::BodyTooLarge => "the body is too large",
            Self::BatchTooLarge => "the batch has too many entries",
            Self::ImageTooLarge => "the image is too large",
            Self::EmptyShard => "a shard has at least one byte",
            Self::ShardOutOfBounds => "the shard ends behind the image",
            Self::LengthMismatch => "Upload-Length differs from the upload's first shard",
            Self::DigestMissing => "a shard needs Content-Digest: sha-256=:...:",
            Self::DigestMismatch => "the bytes do not have their Content-Digest",
            Self::FingerprintMismatch => "the image does not have its fingerprint",
            Self::RangeNotSatisfiable => "the range lies outside the image",
            Self::RequestTimeout => "the request took too long to arrive",
            Self::ImageNotHeld => "you do not hold this image yet",
            Self::TooManyRequests => "too many requests",
            Self::StorageFull => "no room left",
            Self::QuotaExceeded => "your quota is full",
            Self::Unavailable => "the server cannot answer now",
            Self::Internal => "the server failed",
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::RequestTimeout
                | Self::TooManyRequests
                | Self::Unavailable
                | Self::Internal
                | Self::StorageFull
                | Self::QuotaExceeded
                | Self::DigestMismatch
        )
    }

    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginNeeded => "login_needed",
            Self::LoginRefused => "login_refused",
            Self::ScopeTooNarrow => "scope_too_narrow",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MalformedRequest => "malformed_request",
            Self::MalformedBody => "malformed_body",
            Self::MalformedFingerprint => "malformed_fingerprint",
            Self::MalformedPath => "malformed_path",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::LengthRequired => "length_required",
            Self::BodyTooLarge => "body_too_large",
            Self::BatchTooLarge => "batch_too_large",
            Self::ImageTooLarge => "image_too_large",
            Self::EmptyShard => "empty_shard",
            Self::ShardOutOfBounds => "shard_out_of_bounds",
            Self::LengthMismatch => "length_mismatch",
            Self::DigestMissing => "digest_missing",
            Self::DigestMismatch => "digest_mismatch",
            Self::FingerprintMismatch => "fingerprint_mismatch",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::RequestTimeout => "request_timeout",
            Self::ImageNotHeld => "image_not_held",
            Self::TooManyRequests => "too_many_requests",
            Self::StorageFull => "storage_full",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.title())
    }
}

/// The body of every answer with a status of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:heirloom:error:` and the code (RFC 9457 section 3.1.1).
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's line for people.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// The code, for programs.
    pub code: ErrorCode,
    /// What was wrong this time, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Problem {
    /// The answer for `code`.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            kind: format!("urn:heirloom:error:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: None,
        }
    }

    /// The same, saying more.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(formatter, "{}: {detail}", self.title),
            None => formatter.write_str(&self.title),
        }
    }
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}
