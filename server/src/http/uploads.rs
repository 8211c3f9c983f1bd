//! Shards in, and the interruption list (M5, M6, M7).

use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use futures_util::{StreamExt as _, TryStreamExt as _};
use heirloom_protocol::message::UploadState;
use heirloom_protocol::{ByteRange, ContentDigest, ErrorCode, ShardSize, route};

use super::Refusal;
use super::body::arrival_error;
use super::caller::{Adding, Asking, Owning};
use super::extract::{NamedImage, NamedShard, content_length, is_plain};
use crate::accounts::Caller;
use crate::signer::Signer;
use crate::uploads::{Shard, UploadService};

/// `PUT /v1/uploads/{fingerprint}/{offset}`
pub(super) async fn receive(
    State(assembly): State<UploadService>,
    State(signer): State<Signer>,
    Adding(caller): Adding,
    named: NamedShard,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UploadState>, Refusal> {
    let shard = announced(&named, &headers, body)?;
    Ok(Json(signed(
        &signer,
        &caller,
        assembly.receive(&caller, shard).await?,
    )))
}

/// `GET /v1/uploads/{fingerprint}`
pub(super) async fn state(
    State(assembly): State<UploadService>,
    State(signer): State<Signer>,
    Asking(caller): Asking,
    NamedImage(fingerprint): NamedImage,
) -> Result<Json<UploadState>, Refusal> {
    let upload = assembly.upload_state(&caller, fingerprint).await?;
    upload
        .map(|state| Json(signed(&signer, &caller, state)))
        .ok_or_else(|| ErrorCode::NotFound.into())
}

/// A receipt goes out with the server's hand under it.
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
    State(assembly): State<UploadService>,
    Owning(caller): Owning,
    NamedImage(fingerprint): NamedImage,
) -> Result<StatusCode, Refusal> {
    assembly.cancel(&caller, fingerprint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The shard that path and headers announce. Nothing of the body is read here.
fn announced(named: &NamedShard, headers: &HeaderMap, body: Body) -> Result<Shard, Refusal> {
    is_plain(headers)?;
    is_no_form(headers)?;
    let length = content_length(headers)?.ok_or_else(|| {
        Refusal::because(
            ErrorCode::LengthRequired,
            "a shard is sent with Content-Length",
        )
    })?;
    let size = upload_length(headers)?;
    let range = range_of(named.offset, length, size)?;
    let digest = digest(headers)?;
    let body = body.into_data_stream().map_err(arrival_error).boxed();
    Ok(Shard {
        fingerprint: named.fingerprint,
        size,
        range,
        digest,
        body,
    })
}

/// A form's envelope would become part of the photo.
fn is_no_form(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_form = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"multipart/"));
    if is_form {
        Err(Refusal::because(
            ErrorCode::UnsupportedMediaType,
            "a shard is the bytes themselves, without an envelope",
        ))
    } else {
        Ok(())
    }
}

fn upload_length(headers: &HeaderMap) -> Result<u64, Refusal> {
    let Some(value) = only(headers, route::UPLOAD_LENGTH)? else {
        return Err(Refusal::because(
            ErrorCode::LengthRequired,
            "a shard needs Upload-Length, the whole image's size",
        ));
    };
    let digits = Some(value).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| u64::from_str(text).ok()) {
        Some(0) => Err(Refusal::because(
            ErrorCode::EmptyShard,
            "an image has at least one byte",
        )),
        Some(size) if size > route::IMAGE_BYTES_MAX => Err(ErrorCode::ImageTooLarge.into()),
        Some(size) => Ok(size),
        None => Err(Refusal::because(
            ErrorCode::MalformedRequest,
            "Upload-Length is a number of bytes",
        )),
    }
}

/// Where the shard lies in the image. One that is the whole image may be of any length, because it
/// needs no memory.
fn range_of(offset: u64, length: u64, size: u64) -> Result<ByteRange, Refusal> {
    let range = ByteRange::at(offset, length).map_err(|_| {
        if length == 0 {
            Refusal::from(ErrorCode::EmptyShard)
        } else {
            ErrorCode::ShardOutOfBounds.into()
        }
    })?;
    if range.end() > size || length > size - offset {
        let said = format!("shard {range} of an image of {size} bytes");
        return Err(Refusal::because(ErrorCode::ShardOutOfBounds, said));
    }
    if length > ShardSize::MAX.bytes() && length < size {
        let most = format!("a shard has at most {} bytes", ShardSize::MAX.bytes());
        return Err(Refusal::because(ErrorCode::BodyTooLarge, most));
    }
    Ok(range)
}

fn digest(headers: &HeaderMap) -> Result<ContentDigest, Refusal> {
    let value = only(headers, route::CONTENT_DIGEST)?;
    value
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ErrorCode::DigestMissing.into())
}

/// The value of a header that may stand once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Refusal::because(
                ErrorCode::MalformedRequest,
                format!("{name} is not text"),
            )),
        },
        (Some(_), Some(_)) => Err(Refusal::because(
            ErrorCode::MalformedRequest,
            format!("{name} stands twice"),
        )),
    }
}
