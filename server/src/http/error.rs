//! Error responses: the single form of every response from 400 up, and the single place where an
//! error of a lower layer gets its code. No match here has a wildcard arm, so that a new error does
//! not compile until somebody has decided what it means to a client.

use std::error::Error;
use std::io;

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use heirloom_protocol::batch::BatchError;
use heirloom_protocol::problem::PROBLEM_JSON;
use heirloom_protocol::{ErrorCode, Problem};

use crate::accounts::AccountError;
use crate::blobs::BlobError;
use crate::index::IndexError;
use crate::possession::PossessionError;
use crate::scrub::ScrubError;
use crate::uploads::UploadError;

/// `Retry-After` when the server is out of space or busy, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// `Retry-After` when the quota is full, in seconds: somebody has to free space first.
const QUOTA_RETRY_AFTER_S: u32 = 300;

/// An error response: a problem detail (RFC 9457) and its headers.
#[derive(Clone, Debug)]
pub struct ErrorResponse {
    problem: Box<Problem>,
    headers: HeaderMap,
}

impl ErrorResponse {
    /// The response for `code`, with a detail about this request.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::from(Problem::new(code).with_detail(detail))
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Closes the connection after this response, because the bytes that follow on it may not be a
    /// request.
    #[must_use]
    pub fn closing_connection(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

impl From<Problem> for ErrorResponse {
    fn from(problem: Problem) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        match problem.code {
            ErrorCode::LoginNeeded | ErrorCode::LoginRefused => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"heirloom\""),
                );
            }
            ErrorCode::Unavailable | ErrorCode::TooManyRequests | ErrorCode::StorageFull => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            ErrorCode::QuotaExceeded => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(QUOTA_RETRY_AFTER_S));
            }
            _ => {}
        }
        Self {
            problem: Box::new(problem),
            headers,
        }
    }
}

impl From<ErrorCode> for ErrorResponse {
    fn from(code: ErrorCode) -> Self {
        Self::from(Problem::new(code))
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status)
            .expect("every code has a status that HTTP knows");
        let body =
            serde_json::to_vec(&self.problem).expect("a problem has only strings and numbers");
        (status, self.headers, body).into_response()
    }
}

impl From<UploadError> for ErrorResponse {
    fn from(error: UploadError) -> Self {
        match &error {
            UploadError::Index {
                source: full @ IndexError::OverQuota { .. },
                ..
            } => Self::new(ErrorCode::QuotaExceeded, full.to_string()),
            UploadError::Index { source, .. }
            | UploadError::Check(source)
            | UploadError::Expire(source) => logged(index_code(source), &error),
            UploadError::Possession(PossessionError::Index(_, source)) => {
                logged(index_code(source), &error)
            }
            UploadError::Blobs { source, .. } | UploadError::ListUploads(source) => {
                logged(blob_code(source), &error)
            }
            UploadError::LengthMismatch { .. } => {
                Self::new(ErrorCode::LengthMismatch, error.to_string())
            }
            UploadError::Sender(source) => sender_error(source),
            UploadError::DigestMismatch(range) => {
                Self::new(ErrorCode::DigestMismatch, format!("shard {range}"))
            }
            UploadError::FingerprintMismatch { .. } => {
                Self::new(ErrorCode::FingerprintMismatch, error.to_string())
            }
            UploadError::Batch(malformed) => batch_error(malformed),
            UploadError::Overloaded => logged(ErrorCode::Unavailable, &error),
            UploadError::TaskFailed(_) => logged(ErrorCode::Internal, &error),
        }
    }
}

impl From<ScrubError> for ErrorResponse {
    fn from(error: ScrubError) -> Self {
        let code = match &error {
            ScrubError::Index(source) => index_code(source),
            ScrubError::Quarantine { source, .. } => blob_code(source),
        };
        logged(code, &error)
    }
}

impl From<IndexError> for ErrorResponse {
    fn from(error: IndexError) -> Self {
        logged(index_code(&error), &error)
    }
}

impl From<AccountError> for ErrorResponse {
    fn from(error: AccountError) -> Self {
        if matches!(error, AccountError::InvalidDeviceName) {
            // The client's fault: not logged as an error.
            return Self::new(ErrorCode::MalformedBody, error.to_string());
        }
        logged(account_code(&error), &error)
    }
}

/// The response to a malformed batch.
fn batch_error(error: &BatchError) -> ErrorResponse {
    let code = match error {
        BatchError::TooMany(_) => ErrorCode::BatchTooLarge,
        BatchError::NoHeader
        | BatchError::MalformedHeader(_)
        | BatchError::Empty
        | BatchError::Duplicate(_)
        | BatchError::WrongLength { .. } => ErrorCode::MalformedBody,
    };
    let detail = match error {
        BatchError::MalformedHeader(json) => format!("{error}: {json}"),
        other => other.to_string(),
    };
    ErrorResponse::new(code, detail)
}

/// The response when a body did not arrive completely. The client or its network is at fault, so it
/// is not logged as an error.
pub(super) fn sender_error(error: &io::Error) -> ErrorResponse {
    tracing::debug!(%error, "request body did not arrive");
    if error.kind() == io::ErrorKind::TimedOut {
        ErrorResponse::new(ErrorCode::RequestTimeout, error.to_string()).closing_connection()
    } else {
        ErrorResponse::new(ErrorCode::MalformedRequest, "the request body ended early")
            .closing_connection()
    }
}

fn index_code(error: &IndexError) -> ErrorCode {
    match error {
        IndexError::SizeMismatch { .. } => ErrorCode::LengthMismatch,
        // More fragmented than our client ever leaves an upload; sending more of it fills no gap.
        IndexError::TooScattered { .. } => ErrorCode::TooManyRequests,
        IndexError::OverQuota { .. } => ErrorCode::QuotaExceeded,
        IndexError::Closed => ErrorCode::Unavailable,
        _ if error.is_full() => ErrorCode::StorageFull,
        _ if error.is_transient() => ErrorCode::Unavailable,
        IndexError::NameTaken(_)
        | IndexError::NoSuchUser(_)
        | IndexError::CreateFile { .. }
        | IndexError::Open(_)
        | IndexError::NewerSchema { .. }
        | IndexError::Statement { .. }
        | IndexError::Commit(_)
        | IndexError::Corrupt(_)
        | IndexError::Random(_) => ErrorCode::Internal,
    }
}

fn blob_code(error: &BlobError) -> ErrorCode {
    match error {
        BlobError::Missing(_) => ErrorCode::NotFound,
        BlobError::Full { .. } => ErrorCode::StorageFull,
        BlobError::Sender { .. } => ErrorCode::MalformedRequest,
        BlobError::TooShort { .. }
        | BlobError::WrongFingerprint { .. }
        | BlobError::WrongLength { .. }
        | BlobError::Io { .. } => ErrorCode::Internal,
    }
}

fn account_code(error: &AccountError) -> ErrorCode {
    match error {
        AccountError::Index(source) => index_code(source),
        AccountError::Busy => ErrorCode::Unavailable,
        AccountError::InvalidDeviceName => ErrorCode::MalformedBody,
        AccountError::InvalidUserName
        | AccountError::NameTaken(_)
        | AccountError::NoSuchUser(_)
        | AccountError::InvalidPassword
        | AccountError::Hash(_)
        | AccountError::DeviceTaken(_)
        | AccountError::NoSuchDevice { .. }
        | AccountError::Random(_) => ErrorCode::Internal,
    }
}

/// Logs the error with its chain of causes. The client gets only the code.
fn logged(code: ErrorCode, error: &(dyn Error + 'static)) -> ErrorResponse {
    tracing::error!(code = code.as_str(), error, "request failed");
    ErrorResponse::from(code)
}
