//! Uploads: shards, and the interruption list.

use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use futures_util::{StreamExt as _, TryStreamExt as _};
use heirloom_protocol::message::UploadState;
use heirloom_protocol::{ByteRange, ContentDigest, ErrorCode, ShardSize, route};

use super::ErrorResponse;
use super::body::body_error;
use super::caller::{CanAdd, CanRead, IsOwner};
use super::extract::{ImagePath, ShardPath, content_length, require_no_encoding};
use crate::accounts::Caller;
use crate::signer::Signer;
use crate::uploads::{Shard, UploadService};

/// `PUT /v1/uploads/{fingerprint}/{offset}`
pub(super) async fn receive(
    State(uploads): State<UploadService>,
    State(signer): State<Signer>,
    CanAdd(caller): CanAdd,
    named: ShardPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UploadState>, ErrorResponse> {
    let shard = parse_shard(&named, &headers, body)?;
    Ok(Json(signed(
        &signer,
        &caller,
        uploads.receive(&caller, shard).await?,
    )))
}

/// `GET /v1/uploads/{fingerprint}`
pub(super) async fn state(
    State(uploads): State<UploadService>,
    State(signer): State<Signer>,
    CanRead(caller): CanRead,
    ImagePath(fingerprint): ImagePath,
) -> Result<Json<UploadState>, ErrorResponse> {
    let upload = uploads.upload_state(&caller, fingerprint).await?;
    upload
        .map(|state| Json(signed(&signer, &caller, state)))
        .ok_or_else(|| ErrorCode::NotFound.into())
}

/// Signs the receipt of a finished upload.
fn signed(signer: &Signer, caller: &Caller, state: UploadState) -> UploadState {
    match state {
        UploadState::Stored { receipt } => UploadState::Stored {
            receipt: signer.sign(caller.user, receipt),
        },
        receiving @ UploadState::Receiving { .. } => receiving,
    }
}

/// `DELETE /v1/uploads/{fingerprint}`
pub(super) async fn cancel(
    State(uploads): State<UploadService>,
    IsOwner(caller): IsOwner,
    ImagePath(fingerprint): ImagePath,
) -> Result<StatusCode, ErrorResponse> {
    uploads.cancel(&caller, fingerprint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The shard as its path and headers describe it. The body is not read yet.
fn parse_shard(named: &ShardPath, headers: &HeaderMap, body: Body) -> Result<Shard, ErrorResponse> {
    require_no_encoding(headers)?;
    reject_multipart(headers)?;
    let length = content_length(headers)?.ok_or_else(|| {
        ErrorResponse::new(
            ErrorCode::LengthRequired,
            "send a shard with Content-Length",
        )
    })?;
    let size = upload_length(headers)?;
    let range = shard_range(named.offset, length, size)?;
    let digest = digest(headers)?;
    let body = body.into_data_stream().map_err(body_error).boxed();
    Ok(Shard {
        fingerprint: named.fingerprint,
        size,
        range,
        digest,
        body,
    })
}

/// Rejects form uploads, whose multipart envelope would become part of the photo.
fn reject_multipart(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let is_form = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"multipart/"));
    if is_form {
        Err(ErrorResponse::new(
            ErrorCode::UnsupportedMediaType,
            "send the bytes of the shard as they are, not as a form",
        ))
    } else {
        Ok(())
    }
}

fn upload_length(headers: &HeaderMap) -> Result<u64, ErrorResponse> {
    let Some(value) = single_header(headers, route::UPLOAD_LENGTH)? else {
        return Err(ErrorResponse::new(
            ErrorCode::LengthRequired,
            "send a shard with Upload-Length, the size of the whole image",
        ));
    };
    let digits = Some(value).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| u64::from_str(text).ok()) {
        Some(0) => Err(ErrorResponse::new(
            ErrorCode::EmptyShard,
            "an image must have at least one byte",
        )),
        Some(size) if size > route::IMAGE_BYTES_MAX => Err(ErrorCode::ImageTooLarge.into()),
        Some(size) => Ok(size),
        None => Err(ErrorResponse::new(
            ErrorCode::MalformedRequest,
            "Upload-Length must be a number of bytes",
        )),
    }
}

/// The range of the shard within the image. A shard that is the whole image may have any length,
/// because it is streamed to disk.
fn shard_range(offset: u64, length: u64, size: u64) -> Result<ByteRange, ErrorResponse> {
    let range = ByteRange::at(offset, length).map_err(|_| {
        if length == 0 {
            ErrorResponse::from(ErrorCode::EmptyShard)
        } else {
            ErrorCode::ShardOutOfBounds.into()
        }
    })?;
    if range.end() > size || length > size - offset {
        let detail = format!("shard {range} of an image of {size} bytes");
        return Err(ErrorResponse::new(ErrorCode::ShardOutOfBounds, detail));
    }
    if length > ShardSize::MAX.bytes() && length < size {
        let detail = format!("a shard may have at most {} bytes", ShardSize::MAX.bytes());
        return Err(ErrorResponse::new(ErrorCode::BodyTooLarge, detail));
    }
    Ok(range)
}

fn digest(headers: &HeaderMap) -> Result<ContentDigest, ErrorResponse> {
    let value = single_header(headers, route::CONTENT_DIGEST)?;
    value
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ErrorCode::DigestMissing.into())
}

/// The value of a header that may appear only once.
fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ErrorResponse> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(ErrorResponse::new(
                ErrorCode::MalformedRequest,
                format!("{name} is not ASCII text"),
            )),
        },
        (Some(_), Some(_)) => Err(ErrorResponse::new(
            ErrorCode::MalformedRequest,
            format!("{name} appears twice"),
        )),
    }
}
