//! Making sense of answers: which are believed, and what a refusal without our own words means.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::{CheckImage, CheckedImage, UploadState};
use heirloom_protocol::{ErrorCode, Fingerprint, Problem, RangeSet};
use hyper::header::{DATE, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::error::RemoteError;
use super::is_of;

/// An answer, whole.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl ApiResponse {
    /// The message in it, or why there is none.
    pub(super) fn read<Message: DeserializeOwned>(
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

    pub(super) fn refusal(&self, doing: &'static str) -> RemoteError {
        let problem: Option<Problem> = serde_json::from_slice(&self.body).ok();
        let refused_login = problem
            .as_ref()
            .is_some_and(|problem| problem.code == ErrorCode::LoginRefused);
        if self.status == StatusCode::UNAUTHORIZED && !refused_login {
            return RemoteError::LoginNeeded;
        }
        match problem.or_else(|| foreign_problem(self.status)) {
            Some(problem) => RemoteError::Refused {
                problem,
                retry_after: retry_after(&self.headers),
            },
            None => RemoteError::Malformed {
                doing,
                why: format!("status {} is no answer of Heirloom's", self.status),
            },
        }
    }
}

/// What a refusal means that is not in our words: some proxy's page, most likely. Statuses that a
/// proxy gives for reasons of its own are translated; the rest says that this is no Heirloom
/// server.
fn foreign_problem(status: StatusCode) -> Option<Problem> {
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

/// `Retry-After` (RFC 9110 section 10.2.3) in either form. A date is counted from the answer's own
/// `Date`, so that no two clocks need agree; from our clock only where there is none. One that has
/// passed is no wait at all.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let answered = headers
        .get(DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Some(
        until
            .duration_since(answered.unwrap_or_else(SystemTime::now))
            .unwrap_or(Duration::ZERO),
    )
}

/// Whether the answer has an entry for each that was asked for.
pub(super) fn agree_on_count(
    doing: &'static str,
    asked: usize,
    answered: usize,
) -> Result<(), RemoteError> {
    if asked == answered {
        return Ok(());
    }
    Err(RemoteError::Malformed {
        doing,
        why: format!("{answered} entries for {asked}"),
    })
}

/// Whether the answer to a check speaks of the images asked for, in their order.
pub(super) fn agree_on_images(
    doing: &'static str,
    asked: &[CheckImage],
    answered: &[CheckedImage],
) -> Result<(), RemoteError> {
    agree_on_count(doing, asked.len(), answered.len())?;
    for (image, answer) in asked.iter().zip(answered) {
        let agrees = match answer {
            CheckedImage::Owned { receipt } | CheckedImage::Linked { receipt } => {
                is_of(receipt, image.fingerprint, Some(image.size))
            }
            CheckedImage::Interrupted {
                fingerprint,
                received,
            } => *fingerprint == image.fingerprint && fits(received, image.size),
            CheckedImage::Absent { fingerprint } => *fingerprint == image.fingerprint,
        };
        if !agrees {
            return Err(another_image(doing, image.fingerprint));
        }
    }
    Ok(())
}

/// Whether an upload's state speaks of this image.
pub(super) fn agree_on_upload(
    doing: &'static str,
    asked: Fingerprint,
    asked_size: Option<u64>,
    state: &UploadState,
) -> Result<(), RemoteError> {
    let agrees = match state {
        UploadState::Receiving { size, received } => {
            asked_size.is_none_or(|asked| asked == *size) && fits(received, *size)
        }
        UploadState::Stored { receipt } => is_of(receipt, asked, asked_size),
    };
    if agrees {
        Ok(())
    } else {
        Err(another_image(doing, asked))
    }
}

/// Whether the answer to a parcel speaks of the images that were in it, in their order.
pub(super) fn agree_on_parcel(
    packed: &[BatchEntry],
    unpacked: &[BatchOutcome],
) -> Result<(), RemoteError> {
    const DOING: &str = "send several images";
    agree_on_count(DOING, packed.len(), unpacked.len())?;
    for (image, answer) in packed.iter().zip(unpacked) {
        let agrees = match answer {
            BatchOutcome::Stored { receipt } => is_of(receipt, image.fingerprint, Some(image.size)),
            BatchOutcome::Damaged { fingerprint } => *fingerprint == image.fingerprint,
        };
        if !agrees {
            return Err(another_image(DOING, image.fingerprint));
        }
    }
    Ok(())
}

fn fits(received: &RangeSet, size: u64) -> bool {
    received.end() <= size
}

fn another_image(doing: &'static str, asked: Fingerprint) -> RemoteError {
    RemoteError::Malformed {
        doing,
        why: format!("it speaks of another image than {asked}"),
    }
}

/// Puts made-up bytes on trial as an answer: a status, `Retry-After` and `Date` on a line each, and
/// behind them the body (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn trial(bytes: &[u8]) {
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
    let answer = ApiResponse {
        status,
        headers,
        body: Bytes::copy_from_slice(lines.next().unwrap_or_default()),
    };
    let error = answer.refusal("try");
    let wait = super::Backoff::default().failed(error.retry_after());
    assert!(!error.to_string().is_empty() && wait <= super::Backoff::RETRY_AFTER_MAX * 2);
    let asked = CheckImage {
        fingerprint: Fingerprint::of(b"asked"),
        size: 1000,
        proof: None,
    };
    if let Ok(state) = serde_json::from_slice::<UploadState>(&answer.body) {
        let believed = agree_on_upload("try", asked.fingerprint, Some(asked.size), &state).is_ok();
        let beyond = matches!(&state, UploadState::Receiving { size, received } if *size != 1000 || received.end() > 1000);
        assert!(!(believed && beyond));
    }
    if let Ok(checked) = serde_json::from_slice::<Vec<CheckedImage>>(&answer.body) {
        let believed = agree_on_images("try", &[asked], &checked).is_ok();
        assert!(!believed || checked.len() == 1);
    }
}

#[cfg(test)]
mod tests {
    use heirloom_protocol::message::Receipt;

    use super::*;

    #[test]
    fn no_answer_is_misread() {
        heirloom_fuzz::replay("answers", super::trial);
    }

    #[test]
    fn a_receipt_for_another_image_or_another_size_is_no_receipt() {
        let (one, other) = (Fingerprint::of(b"one"), Fingerprint::of(b"other"));
        let asked = CheckImage {
            fingerprint: one,
            size: 3,
            proof: None,
        };
        let packed = BatchEntry {
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
                    agree_on_images("try", std::slice::from_ref(&asked), &[checked]).is_ok(),
                    agrees
                );
            }
            let stored = UploadState::Stored { receipt };
            assert_eq!(
                agree_on_upload("try", one, Some(3), &stored).is_ok(),
                agrees
            );
            let unpacked = BatchOutcome::Stored { receipt };
            assert_eq!(
                agree_on_parcel(std::slice::from_ref(&packed), &[unpacked]).is_ok(),
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
    fn a_server_may_say_when_to_come_again_in_seconds_or_as_a_date() {
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
