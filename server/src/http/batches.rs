//! Image batches: several small images in one upload request.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use futures_util::{StreamExt as _, TryStreamExt as _};
use heirloom_protocol::ErrorCode;
use heirloom_protocol::batch::{BatchOutcome, MEDIA_TYPE};

use super::ErrorResponse;
use super::body::body_error;
use super::caller::CanAdd;
use super::extract::{content_length, require_no_encoding};
use crate::signer::Signer;
use crate::uploads::{BATCH_LENGTH_MAX, UploadService};

/// `POST /v1/parcels`
pub(super) async fn receive(
    State(uploads): State<UploadService>,
    State(signer): State<Signer>,
    CanAdd(caller): CanAdd,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Vec<BatchOutcome>>, ErrorResponse> {
    require_no_encoding(&headers)?;
    require_batch(&headers)?;
    let length = content_length(&headers)?.ok_or_else(|| {
        ErrorResponse::new(
            ErrorCode::LengthRequired,
            "send a batch with Content-Length",
        )
    })?;
    if length > BATCH_LENGTH_MAX {
        return Err(ErrorCode::BodyTooLarge.into());
    }
    let body = body.into_data_stream().map_err(body_error).boxed();
    let mut outcomes = uploads.receive_batch(&caller, length, body).await?;
    for outcome in &mut outcomes {
        if let BatchOutcome::Stored { receipt } = outcome {
            *receipt = signer.sign(caller.user, *receipt);
        }
    }
    Ok(Json(outcomes))
}

fn require_batch(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    if headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()))
    {
        Ok(())
    } else {
        Err(ErrorResponse::new(
            ErrorCode::UnsupportedMediaType,
            format!("use Content-Type: {MEDIA_TYPE}"),
        ))
    }
}
