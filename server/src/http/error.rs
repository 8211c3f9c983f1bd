//! Refusals: the one form of every answer from 400 up, and the one place where an error of a room
//! below gets its code. No match here has a wildcard arm: a new way to fail does not compile until
//! somebody decided what it means to a client.

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

/// Seconds after which a client that was turned away for lack of room or time may come again.
const RETRY_AFTER_S: u32 = 5;

/// The same for one whose quota is full: somebody has to make room first.
const QUOTA_RETRY_AFTER_S: u32 = 300;

/// An answer from 400 up.
#[derive(Clone, Debug)]
pub struct Refusal {
    problem: Box<Problem>,
    headers: HeaderMap,
}

impl Refusal {
    /// The refusal for `code`, saying more.
    pub fn because(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::from(Problem::new(code).with_detail(detail))
    }

    /// The same, with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same, and the connection ends with it: what follows on it cannot be trusted to be a
    /// request.
    #[must_use]
    pub fn and_close(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

impl From<Problem> for Refusal {
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

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::from(Problem::new(code))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status)
            .expect("every code has a status that HTTP knows");
        let body =
            serde_json::to_vec(&self.problem).expect("a problem has only strings and numbers");
        (status, self.headers, body).into_response()
    }
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Self {
        match &error {
            UploadError::Index {
                source: full @ IndexError::OverQuota { .. },
                ..
            } => Self::because(ErrorCode::QuotaExceeded, full.to_string()),
            UploadError::Index { source, .. }
            | UploadError::Check(source)
            | UploadError::Expire(source) => failed(index_code(source), &error),
            UploadError::Possession(PossessionError::Index(_, source)) => {
                failed(index_code(source), &error)
            }
            UploadError::Blobs { source, .. } | UploadError::ListUploads(source) => {
                failed(blob_code(source), &error)
            }
            UploadError::LengthMismatch { .. } => {
                Self::because(ErrorCode::LengthMismatch, error.to_string())
            }
            UploadError::Sender(source) => sender_failed(source),
            UploadError::DigestMismatch(range) => {
                Self::because(ErrorCode::DigestMismatch, format!("shard {range}"))
            }
            UploadError::FingerprintMismatch { .. } => {
                Self::because(ErrorCode::FingerprintMismatch, error.to_string())
            }
            UploadError::Batch(wrong) => batch_refused(wrong),
            UploadError::Overloaded => failed(ErrorCode::Unavailable, &error),
            UploadError::TaskFailed(_) => failed(ErrorCode::Internal, &error),
        }
    }
}

impl From<ScrubError> for Refusal {
    fn from(error: ScrubError) -> Self {
        let code = match &error {
            ScrubError::Index(source) => index_code(source),
            ScrubError::Quarantine { source, .. } => blob_code(source),
        };
        failed(code, &error)
    }
}

impl From<IndexError> for Refusal {
    fn from(error: IndexError) -> Self {
        failed(index_code(&error), &error)
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        if matches!(error, AccountError::MalformedDevice) {
            // The sender's own fault: nothing for the log of the house.
            return Self::because(ErrorCode::MalformedBody, error.to_string());
        }
        failed(account_code(&error), &error)
    }
}

/// The sender's own fault.
fn batch_refused(error: &BatchError) -> Refusal {
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
    Refusal::because(code, detail)
}

/// The sender's own fault, or its network's: nothing for the log of the house.
pub(super) fn sender_failed(error: &io::Error) -> Refusal {
    tracing::debug!(%error, "a body did not arrive");
    if error.kind() == io::ErrorKind::TimedOut {
        Refusal::because(ErrorCode::RequestTimeout, error.to_string()).and_close()
    } else {
        Refusal::because(ErrorCode::MalformedRequest, "the body ended early").and_close()
    }
}

fn index_code(error: &IndexError) -> ErrorCode {
    match error {
        IndexError::SizeMismatch { .. } => ErrorCode::LengthMismatch,
        // More scattered than any sender of ours leaves it: what it sends next fills no gap.
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
        AccountError::MalformedDevice => ErrorCode::MalformedBody,
        AccountError::MalformedName
        | AccountError::NameTaken(_)
        | AccountError::NoSuchUser(_)
        | AccountError::UnfitPassword
        | AccountError::Hash(_)
        | AccountError::DeviceTaken(_)
        | AccountError::NoSuchDevice { .. }
        | AccountError::Random(_) => ErrorCode::Internal,
    }
}

/// The client hears a code; the log gets the chain of causes.
fn failed(code: ErrorCode, error: &(dyn Error + 'static)) -> Refusal {
    tracing::error!(code = code.as_str(), error, "a request failed");
    Refusal::from(code)
}
