//! Image downloads: whole, in part, or not modified.

use bytes::Bytes;
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, route};
use http_body_util::Full;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode};

use crate::support::{Client, Response, TestServer, photo};

async fn asked(
    client: &Client,
    method: Method,
    photo: &[u8],
    headers: &[(HeaderName, &str)],
) -> Response {
    let request = Request::builder()
        .method(method)
        .uri(route::image(Fingerprint::of(photo)));
    let request = headers
        .iter()
        .fold(request, |it, (name, value)| it.header(name, *value));
    client
        .send(request.body(Full::<Bytes>::default()).unwrap())
        .await
}

#[tokio::test]
async fn an_image_is_sent_with_safe_headers_and_its_digest() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(1, 3_000_000);
    anna.store(&photo).await;
    let response = asked(&anna, Method::GET, &photo, &[]).await;
    assert_eq!(
        (response.status, response.body.as_ref()),
        (StatusCode::OK, photo.as_slice())
    );
    let fingerprint = Fingerprint::of(&photo);
    for (name, expected) in [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CONTENT_LENGTH, "3000000".to_owned()),
        (ETAG, format!("\"{fingerprint}\"")),
        (
            HeaderName::from_static("repr-digest"),
            ContentDigest::from(fingerprint).to_string(),
        ),
    ] {
        assert_eq!(response.headers[&name], expected, "{name}");
    }
    let head = asked(&anna, Method::HEAD, &photo, &[]).await;
    assert_eq!(
        (head.status, &head.headers[CONTENT_LENGTH], head.body.len()),
        (StatusCode::OK, &response.headers[CONTENT_LENGTH], 0)
    );
    server.close().await;
}

#[tokio::test]
async fn a_range_is_sent_as_partial_content() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(2, 1_000_000);
    anna.store(&photo).await;
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=500000-", 500_000, 1_000_000),
        ("bytes=-7", 999_993, 1_000_000),
    ] {
        let response = asked(&anna, Method::GET, &photo, &[(RANGE, range)]).await;
        assert_eq!(response.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(
            response.headers[CONTENT_RANGE],
            format!("bytes {from}-{}/1000000", to - 1)
        );
        assert_eq!(response.body, photo[from..to], "{range}");
    }
    let outside = asked(&anna, Method::GET, &photo, &[(RANGE, "bytes=1000000-")]).await;
    assert_eq!(outside.code(), ErrorCode::RangeNotSatisfiable);
    assert_eq!(outside.headers[CONTENT_RANGE], "bytes */1000000");
    let etag = format!("\"{}\"", Fingerprint::of(&photo));
    let resumed = asked(
        &anna,
        Method::GET,
        &photo,
        &[(RANGE, "bytes=5-"), (IF_RANGE, &etag)],
    )
    .await;
    assert_eq!(resumed.status, StatusCode::PARTIAL_CONTENT);
    let changed = asked(
        &anna,
        Method::GET,
        &photo,
        &[(RANGE, "bytes=5-"), (IF_RANGE, "\"other\"")],
    )
    .await;
    assert_eq!(
        (changed.status, changed.body.len()),
        (StatusCode::OK, photo.len())
    );
    server.close().await;
}

#[tokio::test]
async fn an_image_that_the_client_has_is_not_sent_again() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let photo = photo(3, 100_000);
    anna.store(&photo).await;
    let etag = format!("\"{}\"", Fingerprint::of(&photo));
    let again = asked(&anna, Method::GET, &photo, &[(IF_NONE_MATCH, &etag)]).await;
    assert_eq!(
        (again.status, again.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    // Knowing the entity tag gives no access to the image.
    assert_eq!(
        asked(&ben, Method::GET, &photo, &[(IF_NONE_MATCH, &etag)])
            .await
            .code(),
        ErrorCode::NotFound
    );
    server.close().await;
}
