//! Errors: the closed list of codes, their HTTP statuses and RFC 9457 bodies.
//!
//! Every error response is `application/problem+json` with one of these codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The media type of an error response (RFC 9457 section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The reason for an error response. Clients decide by the code, never by the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request has no token, or one that is invalid or revoked.
    LoginNeeded,
    /// There is no such user, or the password is wrong. The server does not reveal which.
    LoginRefused,
    /// The token is valid, but its scope does not allow this request.
    ScopeTooNarrow,
    /// There is no such route, image or upload that this user may see.
    NotFound,
    /// The route exists, but not for this method.
    MethodNotAllowed,
    /// The request violates HTTP (RFC 9110, RFC 9112), or a parameter is wrong.
    MalformedRequest,
    /// The body is not the JSON that the route accepts, or has an unknown field.
    MalformedBody,
    /// A fingerprint is not 64 lower-case hex digits.
    MalformedFingerprint,
    /// A path is not valid in a library; see [`crate::path::PathError`].
    MalformedPath,
    /// The body has a media type or content encoding that the route does not accept.
    UnsupportedMediaType,
    /// `Content-Length` is missing, or `Upload-Length` of a shard.
    LengthRequired,
    /// The body has more bytes than the route accepts.
    BodyTooLarge,
    /// The request has more entries than the route accepts.
    BatchTooLarge,
    /// The image has more bytes than [`crate::route::IMAGE_BYTES_MAX`].
    ImageTooLarge,
    /// A shard or an image has no bytes.
    EmptyShard,
    /// The shard ends after the end of the image.
    ShardOutOfBounds,
    /// `Upload-Length` differs from that of the upload's first shard.
    LengthMismatch,
    /// The shard has no valid `Content-Digest`.
    DigestMissing,
    /// The shard's bytes do not match its `Content-Digest`. Nothing was stored: send it again.
    DigestMismatch,
    /// The complete image does not match its fingerprint. All of it was discarded: start over.
    FingerprintMismatch,
    /// The requested range lies outside the image.
    RangeNotSatisfiable,
    /// The request took too long to arrive.
    RequestTimeout,
    /// A library change names an image that the user does not hold.
    ImageNotHeld,
    /// The rate limit is reached; `Retry-After` says how long to wait.
    TooManyRequests,
    /// The server's disk is full.
    StorageFull,
    /// The image does not fit into the user's quota.
    QuotaExceeded,
    /// The server is stopping or overloaded; try again.
    Unavailable,
    /// The server failed; its log has the details.
    Internal,
}

impl ErrorCode {
    /// All codes, in the order of their definition.
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

    /// The HTTP status (RFC 9110 section 15). This is the only place that decides it.
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

    /// The message for people, one line without a trailing dot.
    pub const fn title(self) -> &'static str {
        match self {
            Self::LoginNeeded => "login needed",
            Self::LoginRefused => "wrong user name or password",
            Self::ScopeTooNarrow => "this device's token does not allow that",
            Self::NotFound => "not found",
            Self::MethodNotAllowed => "method not allowed",
            Self::MalformedRequest => "malformed request",
            Self::MalformedBody => "the request body is not valid JSON for this route",
            Self::MalformedFingerprint => {
                "malformed fingerprint: expected 64 lower-case hex digits"
            }
            Self::MalformedPath => "invalid library path",
            Self::UnsupportedMediaType => "unsupported media type or encoding",
            Self::LengthRequired => "missing length header",
            Self::BodyTooLarge => "request body too large",
            Self::BatchTooLarge => "too many entries in one request",
            Self::ImageTooLarge => "image too large",
            Self::EmptyShard => "empty shard or image",
            Self::ShardOutOfBounds => "the shard extends past the end of the image",
            Self::LengthMismatch => "Upload-Length differs from that of the first shard",
            Self::DigestMissing => "missing or malformed Content-Digest (expected sha-256=:...:)",
            Self::DigestMismatch => "the bytes do not have their Content-Digest",
            Self::FingerprintMismatch => "the image does not match its fingerprint",
            Self::RangeNotSatisfiable => "requested range outside the image",
            Self::RequestTimeout => "the request arrived too slowly",
            Self::ImageNotHeld => "the image has not been uploaded yet",
            Self::TooManyRequests => "too many requests",
            Self::StorageFull => "the server's disk is full",
            Self::QuotaExceeded => "your quota is full",
            Self::Unavailable => "the server is busy or stopping",
            Self::Internal => "internal server error",
        }
    }

    /// Whether the same request may succeed later without being changed.
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

    /// The code as it is written on the wire.
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

/// The body of every response with a status of 400 or more: a problem detail (RFC 9457).
///
/// ```
/// use heirloom_protocol::{ErrorCode, Problem};
///
/// let problem = Problem::new(ErrorCode::QuotaExceeded).with_detail("5 MB over");
/// assert_eq!(problem.status, 507);
/// assert_eq!(problem.to_string(), "your quota is full: 5 MB over");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The problem type: `urn:heirloom:error:` and the code (RFC 9457 section 3.1.1).
    #[serde(rename = "type")]
    pub kind: String,
    /// The message for people; the same for every problem of this code.
    pub title: String,
    /// The HTTP status of the response.
    pub status: u16,
    /// The code, for programs.
    pub code: ErrorCode,
    /// What was wrong with this request in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Problem {
    /// A problem of this code, without detail.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            kind: format!("urn:heirloom:error:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: None,
        }
    }

    /// The same problem with a detail.
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
