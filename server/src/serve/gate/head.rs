//! One head of HTTP/1: where it ends, and whether a body can be told from what follows it.

use heirloom_protocol::ErrorCode;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use hyper::{Method, Uri};

/// Bytes in a head, at most.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// Fields in a head, at most.
pub(in crate::serve) const FIELDS_MAX: usize = 64;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: ErrorCode,
    pub(super) detail: &'static str,
}

impl Fault {
    pub(super) const TOO_LARGE: Self =
        Self::malformed("the head has more than 64 KiB or 64 fields");
    const NOT_HTTP: Self = Self::malformed("this is not HTTP/1.1 (RFC 9112)");
    const LENGTH: Self = Self::malformed("there is one Content-Length, and it is a number");
    const TWO_LENGTHS: Self =
        Self::malformed("Content-Length and Transfer-Encoding exclude each other");
    const NO_LENGTH: Self = Self {
        code: ErrorCode::LengthRequired,
        detail: "a body is sent with Content-Length, not in chunks",
    };

    const fn malformed(detail: &'static str) -> Self {
        Self {
            code: ErrorCode::MalformedRequest,
            detail,
        }
    }
}

/// Where the head ends: behind its empty line. None while it has not come. `looked_at` bytes were
/// searched before. Empty lines ahead of the head belong to it (RFC 9112 section 2.2).
pub(super) fn end(bytes: &[u8], looked_at: usize) -> Option<usize> {
    let blank = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    // An end may have begun in the last three bytes searched.
    let from = looked_at.saturating_sub(3).max(blank);
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

/// The length of the body that follows a head, in bytes.
pub(super) fn judge(head: &[u8]) -> Result<u64, Fault> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::TOO_LARGE),
        Ok(Status::Complete(_) | Status::Partial) | Err(_) => return Err(Fault::NOT_HTTP),
    }
    let method = request
        .method
        .and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let target = request.path.and_then(|path| Uri::try_from(path).ok());
    if method.is_none() || target.is_none() {
        return Err(Fault::NOT_HTTP);
    }
    body_bytes(request.headers)
}

fn body_bytes(fields: &[Header<'_>]) -> Result<u64, Fault> {
    let encoded = named(fields, "transfer-encoding").next().is_some();
    let mut lengths = named(fields, "content-length");
    match (lengths.next(), lengths.next()) {
        (Some(_), _) if encoded => Err(Fault::TWO_LENGTHS),
        (None, _) if encoded => Err(Fault::NO_LENGTH),
        (None, _) => Ok(0),
        (Some(only), None) => number(only).ok_or(Fault::LENGTH),
        (Some(_), Some(_)) => Err(Fault::LENGTH),
    }
}

fn named<'a>(fields: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// Digits and nothing else: what one reader takes for a number the next may not.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // hyper keeps the two highest numbers for lengths that are not known.
    plain
        .then(|| text.parse().ok())
        .flatten()
        .filter(|length| *length < u64::MAX - 2)
}

/// Puts made-up bytes on trial as what comes in over a connection: the first byte says how much of
/// it was searched before (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn trial(bytes: &[u8]) {
    let Some((looked_at, bytes)) = bytes.split_first() else {
        return;
    };
    let Some(end) = end(bytes, 0) else { return };
    let searched = usize::from(*looked_at).min(end - 1);
    assert_eq!(self::end(&bytes[..searched], 0), None);
    assert_eq!(self::end(bytes, searched), Some(end));
    let head = &bytes[..end];
    if let Ok(body_bytes) = judge(head) {
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
        heirloom_fuzz::replay("heads", trial);
    }

    #[test]
    fn a_head_ends_behind_its_empty_line_however_it_comes() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\nrest", 18),
            ("GET / HTTP/1.1\n\nrest", 16),
            ("\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n", 28),
            ("GET / HTTP/1.1\r\nA: b\n\r\nrest", 23),
        ] {
            let bytes = text.as_bytes();
            assert_eq!(end(bytes, 0), Some(expected), "{text:?}");
            for cut in 0..expected {
                assert_eq!(end(&bytes[..cut], 0), None, "{cut} of {text:?}");
                assert_eq!(
                    end(bytes, cut),
                    Some(expected),
                    "{cut} of {text:?} searched before"
                );
            }
        }
    }

    #[test]
    fn the_length_of_a_body_is_never_in_doubt() {
        let judged =
            |fields: &str| judge(format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        assert_eq!(judged(""), Ok(0));
        assert_eq!(judged("Content-Length: 5\r\n"), Ok(5));
        assert_eq!(judged("content-length:007\r\n"), Ok(7));
        for two in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        ] {
            assert_eq!(judged(two), Err(Fault::TWO_LENGTHS), "{two:?}");
        }
        assert_eq!(
            judged("Transfer-Encoding: chunked\r\n"),
            Err(Fault::NO_LENGTH)
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
                judged(&format!("Content-Length: {wrong}\r\n")),
                Err(Fault::LENGTH),
                "{wrong:?}"
            );
        }
        assert_eq!(
            judged("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Err(Fault::LENGTH)
        );
    }

    #[test]
    fn what_is_not_http_is_refused() {
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
            assert_eq!(judge(text.as_bytes()), Err(Fault::NOT_HTTP), "{text:?}");
        }
        let crowded = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS_MAX + 1)
        );
        assert_eq!(judge(crowded.as_bytes()), Err(Fault::TOO_LARGE));
    }
}
