//! `Range` and the conditions around it (RFC 9110 sections 13 and 14), for one strong entity tag.

use axum::http::HeaderMap;
use axum::http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use heirloom_protocol::ByteRange;

/// Which part of an image is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it.
    Whole,
    /// One part of it.
    Part(ByteRange),
    /// A part that it does not have.
    Outside,
    /// Nothing: the asker has it already.
    Unchanged,
}

/// Reads the conditions and the range of a request for an image of `size` bytes with entity tag
/// `etag` (in its quotes).
pub(super) fn asked(headers: &HeaderMap, size: u64, etag: &str) -> Asked {
    if text(headers, &IF_NONE_MATCH).is_some_and(|tags| lists(tags, etag)) {
        return Asked::Unchanged;
    }
    // A date in If-Range never matches: an image has none, and its tag says all.
    if text(headers, &IF_RANGE).is_some_and(|tag| tag != etag) {
        return Asked::Whole;
    }
    text(headers, &RANGE).map_or(Asked::Whole, |range| part(range, size))
}

fn text<'a>(headers: &'a HeaderMap, name: &axum::http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Weak comparison (RFC 9110 section 8.8.3.2): the tag of an unchanging thing matches in both
/// spellings.
fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// One range of bytes. Several at once, or other units, may be ignored (section 14.2) and are.
fn part(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|spec| spec.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let parsed = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => {
            ByteRange::new(first, last.saturating_add(1).min(size))
        }
        (Some(first), None) if last.is_empty() => ByteRange::new(first, size),
        (None, Some(count)) if first.is_empty() => ByteRange::new(size.saturating_sub(count), size),
        _ => return Asked::Whole,
    };
    parsed.map_or(Asked::Outside, Asked::Part)
}

fn number(digits: &str) -> Option<u64> {
    Some(digits)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
}

/// Puts made-up bytes on trial as conditions: an image's size in eight bytes, then `Range`,
/// `If-Range` and `If-None-Match` on a line each (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn trial(bytes: &[u8]) {
    let Some((size, lines)) = bytes.split_first_chunk() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let mut headers = HeaderMap::new();
    for (name, line) in [RANGE, IF_RANGE, IF_NONE_MATCH]
        .into_iter()
        .zip(lines.split(|byte| *byte == b'\n'))
    {
        let value = Some(line).filter(|line| !line.is_empty());
        headers.extend(
            value
                .and_then(|line| axum::http::HeaderValue::from_bytes(line).ok())
                .map(|value| (name, value)),
        );
    }
    if let Asked::Part(range) = asked(&headers, size, "\"abc\"") {
        assert!(range.end() <= size);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn no_condition_is_misread() {
        heirloom_fuzz::replay("conditions", trial);
    }

    const ETAG: &str = "\"abc\"";

    fn asked_with(headers: &[(HeaderName, &'static str)]) -> Asked {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        asked(&headers.collect::<HeaderMap>(), 100, ETAG)
    }

    fn part(start: u64, end: u64) -> Asked {
        Asked::Part(ByteRange::new(start, end).unwrap())
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        for (range, expected) in [
            ("bytes=0-9", part(0, 10)),
            ("bytes=90-", part(90, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=99-1000", part(99, 100)),
            ("bytes=0-18446744073709551615", part(0, 100)),
            ("bytes=100-", Asked::Outside),
            ("bytes=100-200", Asked::Outside),
            ("bytes=-0", Asked::Outside),
            ("bytes=9-0", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(asked_with(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn a_range_of_an_older_version_is_answered_with_the_whole() {
        assert_eq!(
            asked_with(&[(RANGE, "bytes=0-9"), (IF_RANGE, ETAG)]),
            part(0, 10)
        );
        assert_eq!(
            asked_with(&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"other\"")]),
            Asked::Whole
        );
        assert_eq!(
            asked_with(&[
                (RANGE, "bytes=0-9"),
                (IF_RANGE, "Sun, 22 Nov 2026 00:00:00 GMT")
            ]),
            Asked::Whole
        );
    }

    #[test]
    fn what_the_asker_has_is_not_sent_again() {
        for tags in [ETAG, "\"x\", \"abc\"", "W/\"abc\"", "*"] {
            assert_eq!(
                asked_with(&[(IF_NONE_MATCH, tags), (RANGE, "bytes=0-9")]),
                Asked::Unchanged,
                "{tags}"
            );
        }
        assert_eq!(asked_with(&[(IF_NONE_MATCH, "\"x\"")]), Asked::Whole);
    }
}
