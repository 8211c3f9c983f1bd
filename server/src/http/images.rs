//! Image downloads: the whole image or a range of it.

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

use super::ErrorResponse;
use super::caller::CanRead;
use super::extract::ImagePath;
use super::range::{Selection, select};
use crate::uploads::{HeldImage, UploadService};

/// `GET` and `HEAD /v1/images/{fingerprint}`
pub(super) async fn read(
    State(uploads): State<UploadService>,
    CanRead(caller): CanRead,
    ImagePath(fingerprint): ImagePath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ErrorResponse> {
    let Some(image) = uploads.image(&caller, fingerprint).await? else {
        return Err(ErrorCode::NotFound.into());
    };
    let receipt = image.receipt();
    match select(&headers, receipt.size, &etag(&receipt)) {
        Selection::NotModified => {
            Ok((StatusCode::NOT_MODIFIED, image_headers(&receipt)).into_response())
        }
        Selection::NotSatisfiable => {
            let size = value(&format!("bytes */{}", receipt.size));
            Err(ErrorResponse::from(ErrorCode::RangeNotSatisfiable)
                .with_header(CONTENT_RANGE, size))
        }
        Selection::Whole => {
            send(
                &image,
                StatusCode::OK,
                ByteRange::new(0, receipt.size).ok(),
                &method,
            )
            .await
        }
        Selection::Part(range) => {
            send(&image, StatusCode::PARTIAL_CONTENT, Some(range), &method).await
        }
    }
}

/// Responds with the bytes of `range`, which is `None` only for an empty image.
async fn send(
    image: &HeldImage,
    status: StatusCode,
    range: Option<ByteRange>,
    method: &Method,
) -> Result<Response, ErrorResponse> {
    let receipt = image.receipt();
    let mut headers = image_headers(&receipt);
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

/// The headers of an image. The media type is never one that a browser would execute, because the
/// content comes from users.
fn image_headers(receipt: &Receipt) -> HeaderMap {
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
        // The content of a fingerprint never changes.
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
