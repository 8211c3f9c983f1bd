//! A response of the server's API: its parsing, the check that it is about the request, and what an
//! error response means that is not Heirloom's own.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt, UploadState};
use heirloom_protocol::{ErrorCode, Fingerprint, Problem, RangeSet};
use hyper::header::{DATE, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::error::RemoteError;

/// A complete response.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl ApiResponse {
    /// The message in the response, or the error that it stands for.
    pub(super) fn parse<Message: DeserializeOwned>(
        self,
        doing: &'static str,
    ) -> Result<Message, RemoteError> {
        if !self.status.is_success() {
            return Err(self.refusal(doing));
        }
        serde_json::from_slice(&self.body).map_err(|error| RemoteError::Malformed {
            doing,
            why: format!("status {}, {error}", self.status),
        })
    }

    /// The error that this response stands for.
    pub(super) fn refusal(&self, doing: &'static str) -> RemoteError {
        let problem: Option<Problem> = serde_json::from_slice(&self.body).ok();
        let is_login_refused = problem
            .as_ref()
            .is_some_and(|problem| problem.code == ErrorCode::LoginRefused);
        if self.status == StatusCode::UNAUTHORIZED && !is_login_refused {
            return RemoteError::LoginNeeded;
        }
        match problem.or_else(|| foreign_error(self.status)) {
            Some(problem) => RemoteError::Refused {
                problem,
                retry_after: retry_after(&self.headers),
            },
            None => RemoteError::Malformed {
                doing,
                why: format!(
                    "status {} is not a response of a Heirloom server",
                    self.status
                ),
            },
        }
    }
}

/// The meaning of an error response without a problem document of ours: a proxy's page, most
/// likely. Statuses that a proxy has reasons of its own for are translated; any other means that
/// this is no Heirloom server.
fn foreign_error(status: StatusCode) -> Option<Problem> {
    let code = match status {
        StatusCode::REQUEST_TIMEOUT => ErrorCode::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::BodyTooLarge,
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
        StatusCode::INSUFFICIENT_STORAGE => ErrorCode::StorageFull,
        other if other.is_server_error() => ErrorCode::Unavailable,
        _ => return None,
    };
    Some(Problem::new(code).with_detail(format!("status {}", status.as_u16())))
}

/// `Retry-After` (RFC 9110 section 10.2.3) in either form. A date is counted from the response's
/// own `Date`, so that the two clocks need not agree; from our clock only if there is none. A date
/// that has passed is a wait of zero.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let response_date = headers
        .get(DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Some(
        until
            .duration_since(response_date.unwrap_or_else(SystemTime::now))
            .unwrap_or(Duration::ZERO),
    )
}

/// Verifies that the response has as many entries as the request.
pub(super) fn verify_count(
    doing: &'static str,
    requested: usize,
    returned: usize,
) -> Result<(), RemoteError> {
    if requested == returned {
        return Ok(());
    }
    Err(RemoteError::Malformed {
        doing,
        why: format!("{returned} entries instead of {requested}"),
    })
}

/// Verifies that the response to a check is about the images of the request, in their order.
pub(super) fn verify_checked(
    doing: &'static str,
    requested: &[CheckImage],
    returned: &[CheckedImage],
) -> Result<(), RemoteError> {
    verify_count(doing, requested.len(), returned.len())?;
    for (image, result) in requested.iter().zip(returned) {
        let matches = match result {
            CheckedImage::Owned { receipt } | CheckedImage::Linked { receipt } => {
                is_receipt_for(receipt, image.fingerprint, Some(image.size))
            }
            CheckedImage::Interrupted {
                fingerprint,
                received,
            } => *fingerprint == image.fingerprint && fits(received, image.size),
            CheckedImage::Absent { fingerprint } => *fingerprint == image.fingerprint,
        };
        if !matches {
            return Err(another_image(doing, image.fingerprint));
        }
    }
    Ok(())
}

/// Verifies that the state of an upload is about this image.
pub(super) fn verify_upload(
    doing: &'static str,
    requested: Fingerprint,
    requested_size: Option<u64>,
    state: &UploadState,
) -> Result<(), RemoteError> {
    let matches = match state {
        UploadState::Receiving { size, received } => {
            requested_size.is_none_or(|requested| requested == *size) && fits(received, *size)
        }
        UploadState::Stored { receipt } => is_receipt_for(receipt, requested, requested_size),
    };
    if matches {
        Ok(())
    } else {
        Err(another_image(doing, requested))
    }
}

/// Verifies that the response to a batch is about its images, in their order.
pub(super) fn verify_batch(
    sent: &[BatchEntry],
    returned: &[BatchOutcome],
) -> Result<(), RemoteError> {
    const DOING: &str = "send several images";
    verify_count(DOING, sent.len(), returned.len())?;
    for (image, result) in sent.iter().zip(returned) {
        let matches = match result {
            BatchOutcome::Stored { receipt } => {
                is_receipt_for(receipt, image.fingerprint, Some(image.size))
            }
            BatchOutcome::Damaged { fingerprint } => *fingerprint == image.fingerprint,
        };
        if !matches {
            return Err(another_image(DOING, image.fingerprint));
        }
    }
    Ok(())
}

fn fits(received: &RangeSet, size: u64) -> bool {
    received.end() <= size
}

fn another_image(doing: &'static str, requested: Fingerprint) -> RemoteError {
    RemoteError::Malformed {
        doing,
        why: format!("it is about another image than {requested}"),
    }
}

/// Whether a receipt is for this image.
pub(super) fn is_receipt_for(
    receipt: &Receipt,
    fingerprint: Fingerprint,
    size: Option<u64>,
) -> bool {
    receipt.fingerprint == fingerprint && size.is_none_or(|size| receipt.size == size)
}

/// Fuzz target: takes arbitrary bytes as a response. The status, `Retry-After` and `Date` are a
/// line each, followed by the body (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let Some(status) = lines
        .next()
        .and_then(|line| StatusCode::from_bytes(line).ok())
    else {
        return;
    };
    let mut headers = HeaderMap::new();
    for name in [RETRY_AFTER, DATE] {
        let value = lines
            .next()
            .and_then(|line| hyper::header::HeaderValue::from_bytes(line).ok());
        headers.extend(value.map(|value| (name, value)));
    }
    let response = ApiResponse {
        status,
        headers,
        body: Bytes::copy_from_slice(lines.next().unwrap_or_default()),
    };
    let error = response.refusal("try");
    let wait = super::Backoff::default().failed(error.retry_after());
    assert!(!error.to_string().is_empty() && wait <= super::Backoff::RETRY_AFTER_MAX * 2);
    let asked = CheckImage {
        fingerprint: Fingerprint::of(b"asked"),
        size: 1000,
        proof: None,
    };
    if let Ok(state) = serde_json::from_slice::<UploadState>(&response.body) {
        let accepted = verify_upload("try", asked.fingerprint, Some(asked.size), &state).is_ok();
        let is_wrong = match &state {
            UploadState::Receiving { size, received } => *size != 1000 || received.end() > 1000,
            UploadState::Stored { .. } => false,
        };
        assert!(!(accepted && is_wrong));
    }
    if let Ok(checked) = serde_json::from_slice::<Vec<CheckedImage>>(&response.body) {
        let accepted = verify_checked("try", &[asked], &checked).is_ok();
        assert!(!accepted || checked.len() == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_response_is_misread() {
        heirloom_fuzz::replay("responses", super::fuzz);
    }

    #[test]
    fn a_receipt_for_another_image_or_size_is_refused() {
        let (one, other) = (Fingerprint::of(b"one"), Fingerprint::of(b"other"));
        let asked = CheckImage {
            fingerprint: one,
            size: 3,
            proof: None,
        };
        let sent = BatchEntry {
            fingerprint: one,
            size: 3,
        };
        for (fingerprint, size, agrees) in [(one, 3, true), (other, 3, false), (one, 4, false)] {
            let receipt = Receipt {
                fingerprint,
                size,
                stored_at_ms: 1,
                signature: None,
            };
            for checked in [
                CheckedImage::Owned { receipt },
                CheckedImage::Linked { receipt },
            ] {
                assert_eq!(
                    verify_checked("try", std::slice::from_ref(&asked), &[checked]).is_ok(),
                    agrees
                );
            }
            let stored = UploadState::Stored { receipt };
            assert_eq!(verify_upload("try", one, Some(3), &stored).is_ok(), agrees);
            let result = BatchOutcome::Stored { receipt };
            assert_eq!(
                verify_batch(std::slice::from_ref(&sent), &[result]).is_ok(),
                agrees
            );
        }
    }

    fn asked(retry_after: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, retry_after.parse().unwrap())]);
        headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
        super::retry_after(&headers)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(asked("120", None), Some(Duration::from_mins(2)));
        assert_eq!(
            asked("Sun, 06 Nov 1994 08:51:37 GMT", Some(now)),
            Some(Duration::from_mins(2)),
            "by its own clock"
        );
        assert_eq!(
            asked("Sunday, 06-Nov-94 08:49:47 GMT", Some(now)),
            Some(Duration::from_secs(10))
        );
        assert_eq!(
            asked("Sun, 06 Nov 1994 08:49:07 GMT", Some(now)),
            Some(Duration::ZERO),
            "it has passed"
        );
        let tomorrow = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(24));
        assert!(
            asked(&tomorrow, None).unwrap() > Duration::from_hours(23),
            "by our clock"
        );
        for nonsense in ["", "soon", "-1", "1.5", "06 Nov 1994"] {
            assert_eq!(asked(nonsense, Some(now)), None, "{nonsense:?}");
        }
    }
}
