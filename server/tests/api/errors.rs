//! Invalid requests: each gets its status and code, and nothing is stored.

use bytes::Bytes;
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, route};
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use crate::support::{Client, TestServer, assert_nothing_stored, photo, raw};

/// A valid shard, in which each case makes one thing invalid.
struct Shard {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Shard {
    fn good() -> Self {
        let photo = photo(1, 100_000);
        Self {
            path: route::shard(Fingerprint::of(&photo), 0),
            headers: vec![
                (route::UPLOAD_LENGTH, "100000".to_owned()),
                (route::CONTENT_DIGEST, ContentDigest::of(&photo).to_string()),
            ],
            body: photo,
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self
    }

    fn at(mut self, path: String) -> Self {
        self.path = path;
        self
    }

    fn of(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn request(self) -> Request<Full<Bytes>> {
        let request = self
            .headers
            .into_iter()
            .fold(Request::put(self.path), |it, (name, value)| {
                it.header(name, value)
            });
        request.body(Full::from(self.body)).unwrap()
    }
}

#[tokio::test]
async fn an_invalid_shard_is_rejected_with_its_code() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let fingerprint = Fingerprint::of(&photo(1, 100_000));
    let good = Shard::good;
    let upper = fingerprint.to_string().to_uppercase();
    let image_max = route::IMAGE_BYTES_MAX;
    for (why, shard, code) in [
        (
            "upper case",
            good().at(format!("/v1/uploads/{upper}/0")),
            ErrorCode::MalformedFingerprint,
        ),
        (
            "too short",
            good().at("/v1/uploads/abc/0".to_owned()),
            ErrorCode::MalformedFingerprint,
        ),
        (
            "dots",
            good().at("/v1/uploads/%2e%2e%2fx/0".to_owned()),
            ErrorCode::MalformedFingerprint,
        ),
        (
            "not UTF-8",
            good().at("/v1/uploads/%ff/0".to_owned()),
            ErrorCode::MalformedRequest,
        ),
        (
            "offset not a number",
            good().at(format!("/v1/uploads/{fingerprint}/one")),
            ErrorCode::MalformedRequest,
        ),
        (
            "negative offset",
            good().at(format!("/v1/uploads/{fingerprint}/-1")),
            ErrorCode::MalformedRequest,
        ),
        (
            "signed offset",
            good().at(format!("/v1/uploads/{fingerprint}/+1")),
            ErrorCode::MalformedRequest,
        ),
        (
            "offset over 64 bits",
            good().at(format!("/v1/uploads/{fingerprint}/{}", "9".repeat(20))),
            ErrorCode::MalformedRequest,
        ),
        (
            "no Upload-Length",
            good().without(route::UPLOAD_LENGTH),
            ErrorCode::LengthRequired,
        ),
        (
            "Upload-Length in words",
            good().with(route::UPLOAD_LENGTH, "many"),
            ErrorCode::MalformedRequest,
        ),
        (
            "signed Upload-Length",
            good().with(route::UPLOAD_LENGTH, "+100000"),
            ErrorCode::MalformedRequest,
        ),
        (
            "empty image",
            good().with(route::UPLOAD_LENGTH, "0"),
            ErrorCode::EmptyShard,
        ),
        (
            "huge image",
            good().with(route::UPLOAD_LENGTH, &(image_max + 1).to_string()),
            ErrorCode::ImageTooLarge,
        ),
        (
            "empty shard",
            good().of(b"").with("content-length", "0"),
            ErrorCode::EmptyShard,
        ),
        (
            "ends after the image",
            good().with(route::UPLOAD_LENGTH, "99999"),
            ErrorCode::ShardOutOfBounds,
        ),
        (
            "begins after the image",
            good().at(route::shard(fingerprint, 100_000)),
            ErrorCode::ShardOutOfBounds,
        ),
        (
            "overflows 64 bits",
            good().at(route::shard(fingerprint, u64::MAX)),
            ErrorCode::ShardOutOfBounds,
        ),
        (
            "no digest",
            good().without(route::CONTENT_DIGEST),
            ErrorCode::DigestMissing,
        ),
        (
            "another digest",
            good().with(route::CONTENT_DIGEST, "md5=:AAAA:"),
            ErrorCode::DigestMissing,
        ),
        (
            "half a digest",
            good().with(route::CONTENT_DIGEST, "sha-256=:AAAA:"),
            ErrorCode::DigestMissing,
        ),
        (
            "compressed",
            good().with("content-encoding", "gzip"),
            ErrorCode::UnsupportedMediaType,
        ),
        (
            "a form",
            good().with("content-type", "multipart/form-data; boundary=x"),
            ErrorCode::UnsupportedMediaType,
        ),
    ] {
        let response = anna.send(shard.request()).await;
        assert_eq!(response.code(), code, "{why}");
    }
    let mut twice = Shard::good().request();
    twice
        .headers_mut()
        .append(route::UPLOAD_LENGTH, "100000".parse().unwrap());
    assert_eq!(anna.send(twice).await.code(), ErrorCode::MalformedRequest);
    assert_nothing_stored(&server);
    assert_eq!(
        anna.send(Shard::good().request()).await.status,
        StatusCode::OK,
        "the valid shard is accepted"
    );
    server.close().await;
}

#[tokio::test]
async fn an_invalid_check_is_rejected_with_its_code() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let fingerprint = Fingerprint::of(b"a");
    let image = json!({ "fingerprint": fingerprint, "size": 1 });
    let nested = "[".repeat(100_000);
    for (why, body, code) in [
        ("nothing", String::new(), ErrorCode::MalformedBody),
        ("no JSON", "photos".to_owned(), ErrorCode::MalformedBody),
        ("no list", image.to_string(), ErrorCode::MalformedBody),
        ("deep", nested, ErrorCode::MalformedBody),
        (
            "unknown field",
            json!([{ "fingerprint": fingerprint, "size": 1, "name": "a" }]).to_string(),
            ErrorCode::MalformedBody,
        ),
        (
            "size below zero",
            json!([{ "fingerprint": fingerprint, "size": -1 }]).to_string(),
            ErrorCode::MalformedBody,
        ),
        (
            "size in words",
            json!([{ "fingerprint": fingerprint, "size": "1" }]).to_string(),
            ErrorCode::MalformedBody,
        ),
        (
            "short proof",
            json!([{ "fingerprint": fingerprint, "size": 1, "proof": "ab" }]).to_string(),
            ErrorCode::MalformedBody,
        ),
        (
            "duplicate field",
            format!("[{{\"fingerprint\":\"{fingerprint}\",\"size\":1,\"size\":2}}]"),
            ErrorCode::MalformedBody,
        ),
        (
            "no fingerprint",
            json!([{ "fingerprint": "abc", "size": 1 }]).to_string(),
            ErrorCode::MalformedFingerprint,
        ),
        (
            "1001 images",
            json!(vec![image; 1001]).to_string(),
            ErrorCode::BatchTooLarge,
        ),
        (
            "over a MiB",
            " ".repeat((1 << 20) + 1),
            ErrorCode::BodyTooLarge,
        ),
    ] {
        let response = anna.post_text(route::CHECK, body).await;
        assert_eq!(response.code(), code, "{why}");
    }
    let check = |content_type: &str| Request::post(route::CHECK).header(CONTENT_TYPE, content_type);
    let body = || Full::from("[]");
    let form = check("application/x-www-form-urlencoded")
        .body(body())
        .unwrap();
    assert_eq!(
        anna.send(form).await.code(),
        ErrorCode::UnsupportedMediaType
    );
    let bare = Request::post(route::CHECK).body(body()).unwrap();
    assert_eq!(
        anna.send(bare).await.code(),
        ErrorCode::UnsupportedMediaType
    );
    let zipped = check("application/json")
        .header(CONTENT_ENCODING, "gzip")
        .body(body())
        .unwrap();
    assert_eq!(
        anna.send(zipped).await.code(),
        ErrorCode::UnsupportedMediaType
    );
    let plain = check("application/json; charset=utf-8")
        .header(CONTENT_ENCODING, "identity")
        .body(body())
        .unwrap();
    assert_eq!(anna.send(plain).await.status, StatusCode::OK);
    server.close().await;
}

#[tokio::test]
async fn an_invalid_library_change_is_rejected_with_its_code() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let remove =
        |path: &str| json!({ "changes": [{ "change": "remove", "path": path, "base": 0 }] });
    for path in [
        "",
        "/a",
        "a//b",
        "../a",
        "a/..",
        ".",
        "a\0b",
        &"a".repeat(256),
    ] {
        assert_eq!(
            anna.post(route::LIBRARY_CHANGES, &remove(path))
                .await
                .code(),
            ErrorCode::MalformedPath,
            "{path:?}"
        );
    }
    let mut unknown = remove("a");
    unknown["changes"][0]["force"] = json!(true);
    assert_eq!(
        anna.post(route::LIBRARY_CHANGES, &unknown).await.code(),
        ErrorCode::MalformedBody
    );
    let other = json!({ "changes": [{ "change": "burn", "path": "a" }] });
    assert_eq!(
        anna.post(route::LIBRARY_CHANGES, &other).await.code(),
        ErrorCode::MalformedBody
    );
    let not_utf8 = [
        b"{\"changes\":[{\"change\":\"remove\",\"base\":0,\"path\":\"".as_slice(),
        b"\xff\"}]}",
    ]
    .concat();
    assert_eq!(
        anna.post_text(route::LIBRARY_CHANGES, not_utf8)
            .await
            .code(),
        ErrorCode::MalformedBody
    );
    let many = json!({ "changes": vec![remove("a")["changes"][0].clone(); 1001] });
    assert_eq!(
        anna.post(route::LIBRARY_CHANGES, &many).await.code(),
        ErrorCode::BatchTooLarge
    );
    for query in [
        "since=-1",
        "since=x",
        "since=1&since=2",
        "wait=x",
        "before=1",
    ] {
        let response = anna
            .get(&format!("{}?{query}", route::LIBRARY_CHANGES))
            .await;
        assert_eq!(response.code(), ErrorCode::MalformedRequest, "{query}");
    }
    server.close().await;
}

#[tokio::test]
async fn missing_routes_and_images_are_not_found() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(1, 200_000);
    let fingerprint = Fingerprint::of(&photo);
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/session",
        "/v1/session/",
        "/v1/images",
        "/../etc/passwd",
        "/v1/%2e%2e",
    ] {
        assert_eq!(anna.get(path).await.code(), ErrorCode::NotFound, "{path}");
    }
    for (method, path) in [
        (Method::POST, route::SESSION),
        (Method::GET, route::CHECK),
        (Method::PATCH, route::LIBRARY_CHANGES),
        (Method::TRACE, route::STATUS),
        (Method::DELETE, &route::image(fingerprint)),
        (Method::POST, &route::shard(fingerprint, 0)),
        (Method::from_bytes(b"BREW").unwrap(), route::HEALTH),
    ] {
        let response = anna.ask(method.clone(), path).await;
        assert_eq!(
            response.code(),
            ErrorCode::MethodNotAllowed,
            "{method} {path}"
        );
        assert!(response.headers.contains_key(ALLOW), "{method} {path}");
    }
    // Another user's upload and image do not exist for her.
    anna.put(&photo, 0, 100_000).await;
    assert_eq!(
        ben.get(&route::upload(fingerprint)).await.code(),
        ErrorCode::NotFound
    );
    assert_eq!(
        ben.ask(Method::DELETE, &route::upload(fingerprint))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    anna.put(&photo, 100_000, 200_000).await;
    assert!(anna.has(&photo).await, "nobody else can cancel her upload");
    assert_eq!(
        ben.get(&route::image(fingerprint)).await.code(),
        ErrorCode::NotFound
    );
    assert_eq!(
        ben.get("/v1/images/abc").await.code(),
        ErrorCode::MalformedFingerprint
    );
    server.close().await;
}

#[tokio::test]
async fn no_route_works_without_a_valid_token() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let fingerprint = Fingerprint::of(b"a");
    let tokens = [
        None,
        Some(String::new()),
        Some("wrong".to_owned()),
        Some(anna.token.clone().unwrap() + "x"),
        Some("x".repeat(10_000)),
    ];
    for (method, path) in [
        (Method::GET, route::SESSION.to_owned()),
        (Method::DELETE, route::SESSION.to_owned()),
        (Method::POST, route::CHECK.to_owned()),
        (Method::PUT, route::shard(fingerprint, 0)),
        (Method::GET, route::upload(fingerprint)),
        (Method::DELETE, route::upload(fingerprint)),
        (Method::GET, route::image(fingerprint)),
        (Method::HEAD, route::image(fingerprint)),
        (Method::POST, route::LIBRARY_CHANGES.to_owned()),
        (Method::GET, route::library_feed(0, 30)),
        (Method::GET, route::STATUS.to_owned()),
        (Method::GET, route::METRICS.to_owned()),
    ] {
        for token in &tokens {
            let anonymous = Client {
                token: token.clone(),
                ..anna.clone()
            };
            let response = anonymous.ask(method.clone(), &path).await;
            assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(
                response.headers[WWW_AUTHENTICATE]
                    .to_str()
                    .unwrap()
                    .starts_with("Bearer"),
                "{method} {path}"
            );
            if method != Method::HEAD {
                assert_eq!(response.code(), ErrorCode::LoginNeeded, "{method} {path}");
            }
        }
    }
    assert_nothing_stored(&server);
    server.close().await;
}

#[tokio::test]
async fn invalid_http_gets_a_problem_and_the_connection_is_closed() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let login = format!("Authorization: Bearer {}", anna.token.as_ref().unwrap());
    let session = format!("GET /v1/session HTTP/1.1\r\n{login}\r\n");
    let check = format!(
        "POST /v1/images/check HTTP/1.1\r\nHost: a\r\n{login}\r\nContent-Type: application/json\r\n"
    );
    for (why, request, code) in [
        (
            "no Host",
            format!("{session}\r\n"),
            ErrorCode::MalformedRequest,
        ),
        (
            "two Hosts",
            format!("{session}Host: a\r\nHost: b\r\n\r\n"),
            ErrorCode::MalformedRequest,
        ),
        (
            "two lengths",
            format!(
                "{check}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
            ),
            ErrorCode::MalformedRequest,
        ),
        (
            "both, in the other order",
            format!(
                "{check}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
            ),
            ErrorCode::MalformedRequest,
        ),
        (
            "chunks",
            format!("{check}Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"),
            ErrorCode::LengthRequired,
        ),
        (
            "unequal lengths",
            format!("{check}Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]"),
            ErrorCode::MalformedRequest,
        ),
        (
            "signed length",
            format!("{check}Content-Length: +2\r\n\r\n[]"),
            ErrorCode::MalformedRequest,
        ),
        (
            "folded field",
            format!("{session}Host: a\r\nX: a\r\n b\r\n\r\n"),
            ErrorCode::MalformedRequest,
        ),
        (
            "space before the colon",
            format!("{session}Host : a\r\n\r\n"),
            ErrorCode::MalformedRequest,
        ),
        (
            "65 fields",
            format!("{session}Host: a\r\n{}\r\n", "X: a\r\n".repeat(63)),
            ErrorCode::MalformedRequest,
        ),
        (
            "a head of 65 KiB",
            format!("{session}Host: a\r\nX: {}\r\n\r\n", "a".repeat(65 << 10)),
            ErrorCode::MalformedRequest,
        ),
        (
            "a path of 65 KiB",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(65 << 10)),
            ErrorCode::MalformedRequest,
        ),
        (
            "a future HTTP",
            "GET / HTTP/7.0\r\nHost: a\r\n\r\n".to_owned(),
            ErrorCode::MalformedRequest,
        ),
        (
            "something else",
            "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(),
            ErrorCode::MalformedRequest,
        ),
        (
            "no length for a shard",
            format!(
                "PUT {} HTTP/1.1\r\nHost: a\r\n{login}\r\n\r\n",
                route::shard(Fingerprint::of(b"a"), 0)
            ),
            ErrorCode::LengthRequired,
        ),
    ] {
        // The bytes that follow must not be parsed as a request.
        let responses = raw(
            server.inner.address(),
            &format!("{request}GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        )
        .await;
        assert_eq!(responses[0].code(), code, "{why}: {responses:?}");
        if why != "no length for a shard" {
            assert_eq!(responses.len(), 1, "{why}: {responses:?}");
        }
    }
    let sound = raw(
        server.inner.address(),
        &format!("{session}Host: a\r\n\r\n{session}Host: a\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert_eq!(
        sound
            .iter()
            .map(|response| response.status.as_u16())
            .collect::<Vec<_>>(),
        [200, 200]
    );
    server.close().await;
}
