//! `Range` and the conditions around it (RFC 9110 sections 13 and 14), for one strong entity tag.

use axum::http::HeaderMap;
use axum::http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use heirloom_protocol::ByteRange;

/// The part of an image that a request selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// The whole image.
    Whole,
    /// One range of the image.
    Part(ByteRange),
    /// A range outside the image: status 416.
    NotSatisfiable,
    /// Nothing, because the client already has the image: status 304.
    NotModified,
}

/// Evaluates the conditions and the range of a request for an image of `size` bytes with the entity
/// tag `etag` (including its quotes).
pub(super) fn select(headers: &HeaderMap, size: u64, etag: &str) -> Selection {
    if text(headers, &IF_NONE_MATCH).is_some_and(|tags| lists(tags, etag)) {
        return Selection::NotModified;
    }
    // A date in If-Range never matches: an image has no modification date, only its entity tag.
    if text(headers, &IF_RANGE).is_some_and(|tag| tag != etag) {
        return Selection::Whole;
    }
    text(headers, &RANGE).map_or(Selection::Whole, |range| part(range, size))
}

fn text<'a>(headers: &'a HeaderMap, name: &axum::http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Weak comparison (RFC 9110 section 8.8.3.2): an image never changes, so that its tag matches with
/// and without `W/`.
fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Parses one byte range. Several ranges and other units are ignored, as section 14.2 allows.
fn part(range: &str, size: u64) -> Selection {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|spec| spec.trim().split_once('-'))
    else {
        return Selection::Whole;
    };
    let parsed = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => {
            ByteRange::new(first, last.saturating_add(1).min(size))
        }
        (Some(first), None) if last.is_empty() => ByteRange::new(first, size),
        (None, Some(count)) if first.is_empty() => ByteRange::new(size.saturating_sub(count), size),
        _ => return Selection::Whole,
    };
    parsed.map_or(Selection::NotSatisfiable, Selection::Part)
}

fn number(digits: &str) -> Option<u64> {
    Some(digits)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
}

/// Fuzz target: the size of an image in eight bytes, then `Range`, `If-Range` and `If-None-Match`,
/// one per line (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
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
    if let Selection::Part(range) = select(&headers, size, "\"abc\"") {
        assert!(range.end() <= size);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn no_condition_is_misread() {
        heirloom_fuzz::replay("conditions", fuzz);
    }

    const ETAG: &str = "\"abc\"";

    fn select_with(headers: &[(HeaderName, &'static str)]) -> Selection {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        select(&headers.collect::<HeaderMap>(), 100, ETAG)
    }

    fn part(start: u64, end: u64) -> Selection {
        Selection::Part(ByteRange::new(start, end).unwrap())
    }

    #[test]
    fn ranges_are_parsed_as_in_rfc_9110() {
        for (range, expected) in [
            ("bytes=0-9", part(0, 10)),
            ("bytes=90-", part(90, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=99-1000", part(99, 100)),
            ("bytes=0-18446744073709551615", part(0, 100)),
            ("bytes=100-", Selection::NotSatisfiable),
            ("bytes=100-200", Selection::NotSatisfiable),
            ("bytes=-0", Selection::NotSatisfiable),
            ("bytes=9-0", Selection::Whole),
            ("bytes=0-1,5-6", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("lines=1-2", Selection::Whole),
        ] {
            assert_eq!(select_with(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn a_range_of_an_older_version_selects_the_whole_image() {
        assert_eq!(
            select_with(&[(RANGE, "bytes=0-9"), (IF_RANGE, ETAG)]),
            part(0, 10)
        );
        assert_eq!(
            select_with(&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"other\"")]),
            Selection::Whole
        );
        assert_eq!(
            select_with(&[
                (RANGE, "bytes=0-9"),
                (IF_RANGE, "Sun, 22 Nov 2026 00:00:00 GMT")
            ]),
            Selection::Whole
        );
    }

    #[test]
    fn an_image_that_the_client_has_is_not_sent_again() {
        for tags in [ETAG, "\"x\", \"abc\"", "W/\"abc\"", "*"] {
            assert_eq!(
                select_with(&[(IF_NONE_MATCH, tags), (RANGE, "bytes=0-9")]),
                Selection::NotModified,
                "{tags}"
            );
        }
        assert_eq!(select_with(&[(IF_NONE_MATCH, "\"x\"")]), Selection::Whole);
    }
}
