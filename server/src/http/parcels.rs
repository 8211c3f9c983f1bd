//! Several small images in one request.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use futures_util::{StreamExt as _, TryStreamExt as _};
use heirloom_protocol::ErrorCode;
use heirloom_protocol::batch::{BatchOutcome, MEDIA_TYPE};

use super::Refusal;
use super::body::arrival_error;
use super::caller::Adding;
use super::extract::{content_length, is_plain};
use crate::signer::Signer;
use crate::uploads::{BATCH_LENGTH_MAX, UploadService};

/// `POST /v1/parcels`
pub(super) async fn receive(
    State(assembly): State<UploadService>,
    State(signer): State<Signer>,
    Adding(caller): Adding,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Vec<BatchOutcome>>, Refusal> {
    is_plain(&headers)?;
    is_parcel(&headers)?;
    let length = content_length(&headers)?.ok_or_else(|| {
        Refusal::because(
            ErrorCode::LengthRequired,
            "a parcel is sent with Content-Length",
        )
    })?;
    if length > BATCH_LENGTH_MAX {
        return Err(ErrorCode::BodyTooLarge.into());
    }
    let body = body.into_data_stream().map_err(arrival_error).boxed();
    let mut unpacked = assembly.receive_batch(&caller, length, body).await?;
    for image in &mut unpacked {
        if let BatchOutcome::Stored { receipt } = image {
            *receipt = signer.sign(caller.user, *receipt);
        }
    }
    Ok(Json(unpacked))
}

fn is_parcel(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()))
    {
        Ok(())
    } else {
        Err(Refusal::because(
            ErrorCode::UnsupportedMediaType,
            format!("this route takes {MEDIA_TYPE}"),
        ))
    }
}
