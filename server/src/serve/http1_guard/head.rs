//! The head of one HTTP/1 request: where it ends, and how long its body is.

use heirloom_protocol::ErrorCode;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use hyper::{Method, Uri};

/// Maximum size of a head in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// Maximum number of fields in a head.
pub(in crate::serve) const FIELDS_MAX: usize = 64;

/// Why a head is invalid: the error code and detail of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct HeadViolation {
    pub(in crate::serve) code: ErrorCode,
    pub(in crate::serve) detail: &'static str,
}

impl HeadViolation {
    pub(super) const TOO_LARGE: Self =
        Self::malformed("the request head has more than 64 KiB or 64 fields");
    const NOT_HTTP: Self = Self::malformed("the request is not valid HTTP/1.1 (RFC 9112)");
    const LENGTH: Self = Self::malformed("send exactly one Content-Length, a number");
    const TWO_LENGTHS: Self =
        Self::malformed("send either Content-Length or Transfer-Encoding, not both");
    const NO_LENGTH: Self = Self {
        code: ErrorCode::LengthRequired,
        detail: "send the body with Content-Length, not in chunks",
    };

    const fn malformed(detail: &'static str) -> Self {
        Self {
            code: ErrorCode::MalformedRequest,
            detail,
        }
    }
}

/// The end of the head, after its empty line; `None` while it has not arrived. The first `searched`
/// bytes were searched before. Empty lines before the head belong to it (RFC 9112 section 2.2).
pub(super) fn find_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let blank = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    // The empty line may have begun in the last three bytes searched.
    let from = searched.saturating_sub(3).max(blank);
    let newlines = bytes
        .iter()
        .enumerate()
        .skip(from)
        .filter(|(_, byte)| **byte == b'\n');
    newlines
        .map(|(at, _)| at + 1)
        .find_map(|line| match &bytes[line..] {
            [b'\n', ..] => Some(line + 1),
            [b'\r', b'\n', ..] => Some(line + 2),
            _ => None,
        })
}

/// Validates a head and returns the length of the body that follows it, in bytes.
pub(super) fn body_length(head: &[u8]) -> Result<u64, HeadViolation> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadViolation::TOO_LARGE),
        Ok(Status::Complete(_) | Status::Partial) | Err(_) => return Err(HeadViolation::NOT_HTTP),
    }
    let method = request
        .method
        .and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let target = request.path.and_then(|path| Uri::try_from(path).ok());
    if method.is_none() || target.is_none() {
        return Err(HeadViolation::NOT_HTTP);
    }
    declared_length(request.headers)
}

fn declared_length(fields: &[Header<'_>]) -> Result<u64, HeadViolation> {
    let encoded = named(fields, "transfer-encoding").next().is_some();
    let mut lengths = named(fields, "content-length");
    match (lengths.next(), lengths.next()) {
        (Some(_), _) if encoded => Err(HeadViolation::TWO_LENGTHS),
        (None, _) if encoded => Err(HeadViolation::NO_LENGTH),
        (None, _) => Ok(0),
        (Some(only), None) => number(only).ok_or(HeadViolation::LENGTH),
        (Some(_), Some(_)) => Err(HeadViolation::LENGTH),
    }
}

fn named<'a>(fields: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// Parses a number of digits only: what one parser accepts beyond that, another may read
/// differently.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // hyper reserves the two highest numbers for unknown lengths.
    plain
        .then(|| text.parse().ok())
        .flatten()
        .filter(|length| *length < u64::MAX - 2)
}

/// Fuzz target: bytes received on a connection. The first byte says how many of them were searched
/// before (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let Some(end) = find_end(bytes, 0) else {
        return;
    };
    let searched = usize::from(*first).min(end - 1);
    assert_eq!(find_end(&bytes[..searched], 0), None);
    assert_eq!(find_end(bytes, searched), Some(end));
    let head = &bytes[..end];
    if let Ok(body_bytes) = body_length(head) {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        assert!(
            !text.contains("\ntransfer-encoding:")
                && (body_bytes == 0 || text.contains("\ncontent-length:"))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_head_is_misread() {
        heirloom_fuzz::replay("request_heads", fuzz);
    }

    #[test]
    fn a_head_ends_after_its_empty_line_in_whatever_pieces_it_arrives() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\nrest", 18),
            ("GET / HTTP/1.1\n\nrest", 16),
            ("\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n", 28),
            ("GET / HTTP/1.1\r\nA: b\n\r\nrest", 23),
        ] {
            let bytes = text.as_bytes();
            assert_eq!(find_end(bytes, 0), Some(expected), "{text:?}");
            for cut in 0..expected {
                assert_eq!(find_end(&bytes[..cut], 0), None, "{cut} of {text:?}");
                assert_eq!(
                    find_end(bytes, cut),
                    Some(expected),
                    "{cut} of {text:?} searched before"
                );
            }
        }
    }

    #[test]
    fn the_length_of_a_body_is_never_ambiguous() {
        let length = |fields: &str| {
            body_length(format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
        };
        assert_eq!(length(""), Ok(0));
        assert_eq!(length("Content-Length: 5\r\n"), Ok(5));
        assert_eq!(length("content-length:007\r\n"), Ok(7));
        for two in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        ] {
            assert_eq!(length(two), Err(HeadViolation::TWO_LENGTHS), "{two:?}");
        }
        assert_eq!(
            length("Transfer-Encoding: chunked\r\n"),
            Err(HeadViolation::NO_LENGTH)
        );
        for wrong in [
            "+5",
            "-1",
            "0x10",
            "5,5",
            "",
            "5 5",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            assert_eq!(
                length(&format!("Content-Length: {wrong}\r\n")),
                Err(HeadViolation::LENGTH),
                "{wrong:?}"
            );
        }
        assert_eq!(
            length("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Err(HeadViolation::LENGTH)
        );
    }

    #[test]
    fn invalid_http_is_rejected() {
        for text in [
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
            "GET / HTTP/3.0\r\n\r\n",
            "GET /\r\n\r\n",
            "G@T / HTTP/1.1\r\n\r\n",
            "\u{16}\u{3}\u{1}\n\n",
            "GET htt:p// HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(
                body_length(text.as_bytes()),
                Err(HeadViolation::NOT_HTTP),
                "{text:?}"
            );
        }
        let too_many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS_MAX + 1)
        );
        assert_eq!(
            body_length(too_many.as_bytes()),
            Err(HeadViolation::TOO_LARGE)
        );
    }
}
