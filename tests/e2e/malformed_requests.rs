//! A table of bad requests to the real server: each is refused with its error code, and leaves
//! nothing behind.
//!
//! Each line has one mistake; [`Request`] makes the rest of the request right.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use heirloom_protocol::problem::Problem;
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, route};

use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

/// The minimum number of requests in the table.
const REQUESTS_MIN: usize = 150;

/// A server that sends nothing for this long hangs.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The bytes of the shard that these requests try to send.
const PHOTO: &[u8; 1_000] = &[0x5a; 1_000];

/// A request as bytes, its mistake, and the expected error.
struct BadRequest {
    why: String,
    bytes: Vec<u8>,
    code: ErrorCode,
}

/// A request that is right except for what a test changes.
#[derive(Clone)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, path: &str) -> Self {
        let headers = vec![
            ("Host".to_owned(), "h".to_owned()),
            ("Connection".to_owned(), "close".to_owned()),
        ];
        Self {
            line: format!("{method} {path} HTTP/1.1"),
            headers,
            body: Vec::new(),
        }
    }

    fn shard(path: &str) -> Self {
        let digest = ContentDigest::of(PHOTO).to_string();
        let it = Self::new("PUT", path)
            .with("Content-Length", "1000")
            .with("Content-Digest", &digest);
        Self {
            body: PHOTO.to_vec(),
            ..it.with("Upload-Length", "1000")
        }
    }

    fn json(path: &str, body: &str) -> Self {
        let length = body.len().to_string();
        let it = Self::new("POST", path)
            .with("Content-Type", "application/json")
            .with("Content-Length", &length);
        Self {
            body: body.as_bytes().to_vec(),
            ..it
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(present, _)| present != name);
        self
    }

    fn replace_header(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    fn expecting(self, why: impl Into<String>, code: ErrorCode) -> BadRequest {
        let headers: String = self
            .headers
            .iter()
            .flat_map(|(name, value)| [name, ": ", value, "\r\n"])
            .collect();
        let head = format!("{}\r\n{headers}\r\n", self.line);
        BadRequest {
            why: why.into(),
            bytes: [head.as_bytes(), &self.body].concat(),
            code,
        }
    }
}

/// The path of the shard that is the whole photo.
fn whole() -> String {
    route::shard(Fingerprint::of(PHOTO), 0)
}

fn wrong_methods() -> Vec<BadRequest> {
    let image = Fingerprint::of(PHOTO);
    let (upload, shard, held) = (route::upload(image), whole(), route::image(image));
    let routes = [
        (
            route::SESSION,
            ["POST", "PUT", "OPTIONS", "PATCH", "PROPFIND"],
        ),
        (route::CHECK, ["GET", "PUT", "DELETE", "PATCH", "TRACE"]),
        (
            route::LIBRARY_CHANGES,
            ["PUT", "DELETE", "PATCH", "MKCOL", "TRACE"],
        ),
        (route::STATUS, ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        (route::METRICS, ["POST", "PUT", "DELETE", "PATCH", "BREW"]),
        (&upload, ["POST", "PUT", "PATCH", "MOVE", "TRACE"]),
        (&shard, ["GET", "POST", "DELETE", "PATCH", "COPY"]),
        (&held, ["POST", "PUT", "DELETE", "PATCH", "LOCK"]),
    ];
    let bad = |(path, methods): (&str, [&str; 5])| {
        methods.map(|method| {
            Request::new(method, path)
                .expecting(format!("{method} {path}"), ErrorCode::MethodNotAllowed)
        })
    };
    routes.into_iter().flat_map(bad).collect()
}

fn wrong_paths() -> Vec<BadRequest> {
    let nowhere = [
        "/",
        "/v1",
        "/v1/",
        "/v2/session",
        "/v1/session/",
        "/v1/sessions",
        "//v1/session",
        "/V1/SESSION",
    ];
    let traps = [
        "/v1/images/../session",
        "/etc/passwd",
        "/v1/uploads",
        "/v1/images",
        "/.env",
        "/v1/images/a/b/c",
    ];
    let missing = nowhere.into_iter().chain(traps);
    let missing = missing.map(|path| {
        Request::new("GET", path).expecting(format!("GET {path}"), ErrorCode::NotFound)
    });
    let image = Fingerprint::of(PHOTO).to_string();
    let spellings = [
        image.to_uppercase(),
        image[..63].to_owned(),
        format!("{image}0"),
        format!("g{}", &image[1..]),
        format!("%20{}", &image[1..]),
        "0".to_owned(),
        "..".to_owned(),
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned(),
        "%00".repeat(64),
        format!("sha256:{image}"),
        format!("\"{image}\""),
        "%C3%A4".repeat(32),
    ];
    let misspelt = spellings.iter().flat_map(|image| {
        [
            Request::new("GET", &format!("/v1/uploads/{image}")),
            Request::new("DELETE", &format!("/v1/uploads/{image}")),
            Request::new("GET", &format!("/v1/images/{image}")),
            Request::shard(&format!("/v1/uploads/{image}/0")),
        ]
        .map(|request| {
            request.expecting(
                format!("the fingerprint {image}"),
                ErrorCode::MalformedFingerprint,
            )
        })
    });
    missing.chain(misspelt).collect()
}

fn wrong_shards() -> Vec<BadRequest> {
    use ErrorCode::{
        BodyTooLarge, DigestMismatch, DigestMissing, EmptyShard, ImageTooLarge, LengthRequired,
    };
    use ErrorCode::{
        FingerprintMismatch, MalformedRequest, ShardOutOfBounds, UnsupportedMediaType,
    };
    let image = Fingerprint::of(PHOTO);
    let good = || Request::shard(&whole());
    let offsets = [
        "-1",
        "+1",
        "one",
        "1.0",
        "0x10",
        "%31x",
        "99999999999999999999",
        "1e3",
        "%20",
        "NaN",
    ];
    let offsets = offsets.map(|offset| {
        Request::shard(&format!("/v1/uploads/{image}/{offset}"))
            .expecting(format!("offset {offset}"), MalformedRequest)
    });
    let beyond = [1_u64, 999, 1_000, 1 << 40, u64::MAX];
    let beyond = beyond.map(|offset| {
        Request::shard(&route::shard(image, offset))
            .expecting("past the end of the image", ShardOutOfBounds)
    });
    let huge = (route::IMAGE_BYTES_MAX + 1).to_string();
    let lengths = [
        ("many", MalformedRequest),
        ("-1", MalformedRequest),
        ("+1000", MalformedRequest),
        ("1000.0", MalformedRequest),
        ("1000, 1000", MalformedRequest),
        ("0x3e8", MalformedRequest),
        ("18446744073709551616", MalformedRequest),
        ("0", EmptyShard),
        ("999", ShardOutOfBounds),
        (&huge, ImageTooLarge),
        ("18446744073709551615", ImageTooLarge),
    ];
    let lengths = lengths.map(|(value, code)| {
        good()
            .replace_header("Upload-Length", value)
            .expecting(format!("Upload-Length {value}"), code)
    });
    let digests = [
        "",
        "sha-256",
        "sha-256=",
        "sha-256=::",
        "sha-256=:AAAA:",
        "sha-512=:AAAA:",
        "md5=:AAAA:",
        "sha-256=AAAA",
        "?1",
    ];
    let digests = digests.map(|value| {
        good()
            .replace_header("Content-Digest", value)
            .expecting(format!("Content-Digest {value}"), DigestMissing)
    });
    let other = ContentDigest::of(b"another shard").to_string();
    let strange = route::shard(Fingerprint::of(b"another image"), 0);
    let several = vec![
        good()
            .without("Upload-Length")
            .expecting("no Upload-Length", LengthRequired),
        good()
            .with("Upload-Length", "1000")
            .expecting("two Upload-Lengths", MalformedRequest),
        good()
            .without("Content-Digest")
            .expecting("no Content-Digest", DigestMissing),
        good()
            .replace_header("Content-Digest", &other)
            .expecting("another shard's digest", DigestMismatch),
        Request::shard(&strange).expecting("another image's name", FingerprintMismatch),
        good()
            .with("Content-Encoding", "gzip")
            .expecting("compressed", UnsupportedMediaType),
        good()
            .with("Content-Encoding", "identity, br")
            .expecting("compressed", UnsupportedMediaType),
        good()
            .with("Content-Type", "multipart/form-data; boundary=x")
            .expecting("a form", UnsupportedMediaType),
        good()
            .replace_header("Content-Length", "0")
            .expecting("an empty shard", EmptyShard),
        good()
            .replace_header("Content-Length", "33554432")
            .replace_header("Upload-Length", "99999999")
            .expecting("a huge shard", BodyTooLarge),
        good()
            .without("Content-Length")
            .with("Transfer-Encoding", "chunked")
            .expecting("chunks", LengthRequired),
        good()
            .without("Content-Length")
            .expecting("no length", LengthRequired),
    ];
    offsets
        .into_iter()
        .chain(beyond)
        .chain(lengths)
        .chain(digests)
        .chain(several)
        .collect()
}

fn wrong_messages() -> Vec<BadRequest> {
    use ErrorCode::{
        BatchTooLarge, BodyTooLarge, MalformedBody, MalformedFingerprint, MalformedPath,
        UnsupportedMediaType,
    };
    let image = Fingerprint::of(PHOTO);
    let entry = format!(r#"{{"fingerprint":"{image}","size":1}}"#);
    let deep = "[".repeat(100_000);
    let batch = format!("[{}]", vec![entry.as_str(); 1_001].join(","));
    let padded = format!("[{}]", " ".repeat(2 << 20));
    let checks = [
        (String::new(), MalformedBody),
        ("null".to_owned(), MalformedBody),
        ("{}".to_owned(), MalformedBody),
        ("[1]".to_owned(), MalformedBody),
        ("[[]]".to_owned(), MalformedBody),
        (entry.clone(), MalformedBody),
        (format!("[{entry}"), MalformedBody),
        (format!("[{entry},]"), MalformedBody),
        (format!("[{entry}]x"), MalformedBody),
        (deep, MalformedBody),
        (format!(r#"[{{"fingerprint":"{image}"}}]"#), MalformedBody),
        (
            format!(r#"[{{"fingerprint":"{image}","size":-1}}]"#),
            MalformedBody,
        ),
        (
            format!(r#"[{{"fingerprint":"{image}","size":1.5}}]"#),
            MalformedBody,
        ),
        (
            format!(r#"[{{"fingerprint":"{image}","size":"1"}}]"#),
            MalformedBody,
        ),
        (
            format!(r#"[{{"fingerprint":"{image}","size":18446744073709551616}}]"#),
            MalformedBody,
        ),
        (
            format!(r#"[{{"fingerprint":"{image}","size":1,"user":7}}]"#),
            MalformedBody,
        ),
        (
            format!(r#"[{{"fingerprint":"{image}","size":1,"proof":"short"}}]"#),
            MalformedBody,
        ),
        (
            r#"[{"fingerprint":"abc","size":1}]"#.to_owned(),
            MalformedFingerprint,
        ),
        (
            format!(
                r#"[{{"fingerprint":"{}","size":1}}]"#,
                image.to_string().to_uppercase()
            ),
            MalformedFingerprint,
        ),
        (batch, BatchTooLarge),
        (padded, BodyTooLarge),
    ];
    let long = "a".repeat(256);
    let places = [
        "",
        "/a.jpg",
        "a//b.jpg",
        "../a.jpg",
        "a/../b.jpg",
        "./a.jpg",
        "a/",
        "a\\u0000.jpg",
        &long,
    ];
    let put = |path: &str| {
        format!(
            r#"{{"changes":[{{"change":"put","path":"{path}","fingerprint":"{image}","mtime_ns":0,"base":0}}]}}"#
        )
    };
    let places = places.map(|path| (put(path), MalformedPath));
    let changes = [
        "",
        "[]",
        "{}",
        r#"{"changes":7}"#,
        r#"{"changes":[{}]}"#,
        r#"{"changes":[{"change":"steal"}]}"#,
    ];
    let changes = changes.map(|body| (body.to_owned(), MalformedBody));
    let to = |path: &'static str| {
        move |(body, code): (String, ErrorCode)| {
            let shown: String = body.chars().take(60).collect();
            Request::json(path, &body).expecting(format!("{path} {shown}"), code)
        }
    };
    let types = [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
    ];
    let types = types.map(|kind| {
        Request::json(route::CHECK, "[]")
            .replace_header("Content-Type", kind)
            .expecting(kind, UnsupportedMediaType)
    });
    let checks = checks.into_iter().map(to(route::CHECK));
    checks
        .chain(
            places
                .into_iter()
                .chain(changes)
                .map(to(route::LIBRARY_CHANGES)),
        )
        .chain(types)
        .collect()
}

fn wrong_http() -> Vec<BadRequest> {
    use ErrorCode::{LoginNeeded, MalformedRequest};
    let session = || Request::new("GET", route::SESSION);
    let good = || Request::shard(&whole());
    let queries = [
        "since=-1",
        "since=x",
        "wait=-1",
        "wait=1.5",
        "unknown=1",
        "since=99999999999999999999",
    ];
    let queries = queries.map(|query| {
        Request::new("GET", &format!("/v1/library/changes?{query}"))
            .expecting(query, MalformedRequest)
    });
    let lengths = [
        "-1",
        "+5",
        "many",
        "1000, 999",
        "0x10",
        "99999999999999999999",
    ];
    let lengths = lengths.map(|value| {
        good()
            .replace_header("Content-Length", value)
            .expecting(format!("length {value}"), MalformedRequest)
    });
    let several = vec![
        session()
            .without("Host")
            .expecting("no Host", MalformedRequest),
        session()
            .with("Host", "other")
            .expecting("two Hosts", MalformedRequest),
        good()
            .with("Content-Length", "999")
            .expecting("two lengths", MalformedRequest),
        good()
            .with("Transfer-Encoding", "chunked")
            .expecting("a length and chunks", MalformedRequest),
        session()
            .with("X y", "1")
            .expecting("a space in a header's name", MalformedRequest),
        session()
            .with("X\0y", "1")
            .expecting("NUL in a header's name", MalformedRequest),
        session()
            .with("", "1")
            .expecting("a header without a name", MalformedRequest),
        Request {
            line: "GET".to_owned(),
            ..session()
        }
        .expecting("half a request line", MalformedRequest),
        Request {
            line: "GET /v1/session HTTP/9.9".to_owned(),
            ..session()
        }
        .expecting("HTTP/9.9", MalformedRequest),
        Request {
            line: "G\u{1}T /v1/session HTTP/1.1".to_owned(),
            ..session()
        }
        .expecting("no method", MalformedRequest),
        Request {
            line: "\u{16}\u{3}\u{1}\u{2}".to_owned(),
            ..session()
        }
        .expecting("TLS to a plain port", MalformedRequest),
    ];
    let invalid_tokens = ["", "Bearer", "Bearer ", "Bearer wrong", "Basic YW5uYTp4"];
    let invalid_tokens = invalid_tokens.map(|value| {
        session()
            .with("Authorization", value)
            .expecting(format!("token {value:?}"), LoginNeeded)
    });
    queries
        .into_iter()
        .chain(lengths)
        .chain(several)
        .chain(invalid_tokens)
        .collect()
}

#[test]
fn bad_requests_are_refused_with_their_codes_and_leave_nothing_behind() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let mut table: Vec<_> = [
        wrong_methods(),
        wrong_paths(),
        wrong_shards(),
        wrong_messages(),
    ]
    .into_iter()
    .flatten()
    .collect();
    for bad in &mut table {
        log_in(&mut bad.bytes, &anna.token);
    }
    table.extend(wrong_http().into_iter().map(|mut bad| {
        if bad.code != ErrorCode::LoginNeeded {
            log_in(&mut bad.bytes, &anna.token);
        }
        bad
    }));
    assert!(table.len() >= REQUESTS_MIN, "{} bad requests", table.len());
    let before = installation.server.stored();
    let wrong: Vec<_> = table
        .iter()
        .filter_map(|bad| wrong_response(installation.server.address(), bad))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} answered wrongly:\n{}",
        wrong.len(),
        table.len(),
        wrong.join("\n")
    );
    assert_eq!(
        installation.server.stored(),
        before,
        "nothing of them is kept"
    );
    println!("{} bad requests", table.len());
}

#[test]
fn an_incomplete_request_leaves_nothing_behind() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let mut good = Request::shard(&whole())
        .expecting("nothing", ErrorCode::Internal)
        .bytes;
    log_in(&mut good, &anna.token);
    let before = installation.server.stored();
    for end in (1..good.len()).step_by(50) {
        let mut connection =
            TcpStream::connect(installation.server.address()).expect("the server accepts");
        connection
            .write_all(&good[..end])
            .expect("the server reads");
        connection
            .shutdown(Shutdown::Both)
            .expect("our own connection");
    }
    eventually(SOON, "what half requests left is removed", || {
        installation.server.stored() == before
    });
    let answer = exchange(installation.server.address(), &good);
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "the whole one is good: {}",
        String::from_utf8_lossy(&answer)
    );
}

/// Inserts the token after the request line.
fn log_in(request: &mut Vec<u8>, token: &str) {
    let end = request
        .windows(2)
        .position(|two| two == b"\r\n")
        .expect("a request line")
        + 2;
    request.splice(
        end..end,
        format!("Authorization: Bearer {token}\r\n").into_bytes(),
    );
}

/// Sends a bad request; returns a description if the response is wrong.
fn wrong_response(server: SocketAddr, bad: &BadRequest) -> Option<String> {
    let answer = exchange(server, &bad.bytes);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse::<u16>().ok());
    let problem = serde_json::from_str::<Problem>(body).ok();
    let right = status == Some(bad.code.status())
        && problem.is_some_and(|problem| problem.code == bad.code);
    (!right).then(|| {
        format!(
            "{}: {:?} expected, came {}",
            bad.why,
            bad.code,
            text.chars().take(600).collect::<String>()
        )
    })
}

fn exchange(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(server).expect("the server accepts");
    connection
        .set_read_timeout(Some(RESPONSE_TIMEOUT))
        .expect("a time limit");
    // The server may refuse a request before it has read all of it.
    let sent = connection.write_all(request);
    assert!(
        sent.is_ok() || sent.is_err_and(|error| error.kind() != ErrorKind::TimedOut),
        "the server reads"
    );
    let mut answer = Vec::new();
    match connection.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => answer,
        Err(error) => format!("no answer: {error}").into_bytes(),
    }
}

impl crate::server::Server {
    /// Every file that holds photo bytes, with its length.
    fn stored(&self) -> BTreeMap<std::path::PathBuf, u64> {
        let folders = ["images", "uploads", "quarantine"].map(|name| self.data().join(name));
        let files = folders
            .iter()
            .flat_map(|folder| crate::server::files_below(folder));
        files
            .map(|file| (file.clone(), file.metadata().map_or(0, |facts| facts.len())))
            .collect()
    }
}
