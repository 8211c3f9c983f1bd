//! Images out: the bytes, whole or in part.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, ContentDigest, ErrorCode};

use super::Refusal;
use super::caller::Asking;
use super::extract::NamedImage;
use super::range::{Asked, asked};
use crate::uploads::{HeldImage, UploadService};

/// `GET` and `HEAD /v1/images/{fingerprint}`
pub(super) async fn read(
    State(assembly): State<UploadService>,
    Asking(caller): Asking,
    NamedImage(fingerprint): NamedImage,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Some(image) = assembly.image(&caller, fingerprint).await? else {
        return Err(ErrorCode::NotFound.into());
    };
    let receipt = image.receipt();
    match asked(&headers, receipt.size, &etag(&receipt)) {
        Asked::Unchanged => Ok((StatusCode::NOT_MODIFIED, about(&receipt)).into_response()),
        Asked::Outside => {
            let size = value(&format!("bytes */{}", receipt.size));
            Err(Refusal::from(ErrorCode::RangeNotSatisfiable).with_header(CONTENT_RANGE, size))
        }
        Asked::Whole => {
            send(
                &image,
                StatusCode::OK,
                ByteRange::new(0, receipt.size).ok(),
                &method,
            )
            .await
        }
        Asked::Part(range) => send(&image, StatusCode::PARTIAL_CONTENT, Some(range), &method).await,
    }
}

/// `range` is none only for an image without a byte.
async fn send(
    image: &HeldImage,
    status: StatusCode,
    range: Option<ByteRange>,
    method: &Method,
) -> Result<Response, Refusal> {
    let receipt = image.receipt();
    let mut headers = about(&receipt);
    headers.insert(CONTENT_LENGTH, range.map_or(0, ByteRange::len).into());
    if let (StatusCode::PARTIAL_CONTENT, Some(range)) = (status, range) {
        let sent = format!(
            "bytes {}-{}/{}",
            range.start(),
            range.end() - 1,
            receipt.size
        );
        headers.insert(CONTENT_RANGE, value(&sent));
    }
    let body = match range {
        Some(range) if method != Method::HEAD => Body::from_stream(image.read(range).await?),
        _ => Body::empty(),
    };
    Ok((status, headers, body).into_response())
}

/// Never a type that a browser would run: what users send is not ours to vouch for.
fn about(receipt: &Receipt) -> HeaderMap {
    HeaderMap::from_iter([
        (
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        // A fingerprint names the same bytes for ever.
        (
            CACHE_CONTROL,
            HeaderValue::from_static("private, max-age=31536000, immutable"),
        ),
        (ETAG, value(&etag(receipt))),
        (
            axum::http::HeaderName::from_static("repr-digest"),
            value(&ContentDigest::from(receipt.fingerprint).to_string()),
        ),
    ])
}

fn etag(receipt: &Receipt) -> String {
    format!("\"{}\"", receipt.fingerprint)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, hex and base64 are visible ASCII")
}
