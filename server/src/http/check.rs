//! The batched check: which of these images does the server have?

use axum::Json;
use axum::extract::State;
use heirloom_protocol::message::{CheckImage, CheckedImage};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use serde::Deserialize;

use super::caller::CanAdd;
use super::extract::{JsonBody, JsonMessage};
use super::{AuthLimits, ErrorResponse};
use crate::signer::Signer;
use crate::uploads::UploadService;

/// `POST /v1/images/check`
pub(super) async fn check(
    State(uploads): State<UploadService>,
    State(limits): State<AuthLimits>,
    State(signer): State<Signer>,
    CanAdd(caller): CanAdd,
    JsonBody(images): JsonBody<Vec<CheckImage>>,
) -> Result<Json<Vec<CheckedImage>>, ErrorResponse> {
    limits.image_check(caller.token)?;
    let mut checked = uploads.check(&caller, &images).await?;
    for image in &mut checked {
        // A new receipt is signed; a repeated one was signed when it was new.
        if let CheckedImage::Linked { receipt } = image {
            *receipt = signer.sign(caller.user, *receipt);
        }
    }
    Ok(Json(checked))
}

impl JsonMessage for Vec<CheckImage> {
    /// Four times the size of a thousand images of about 250 bytes each.
    const BYTES_MAX: usize = 1 << 20;

    fn error_code(body: &[u8]) -> ErrorCode {
        /// The part of an image that shows whether its fingerprint is malformed.
        #[derive(Deserialize)]
        struct RawImage {
            fingerprint: String,
        }
        let images: Vec<RawImage> = serde_json::from_slice(body).unwrap_or_default();
        if images
            .iter()
            .any(|image| image.fingerprint.parse::<Fingerprint>().is_err())
        {
            ErrorCode::MalformedFingerprint
        } else {
            ErrorCode::MalformedBody
        }
    }

    fn is_over_limit(&self) -> bool {
        self.len() > route::CHECK_IMAGES_MAX
    }
}
