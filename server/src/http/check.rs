//! The detection request (M4).

use axum::Json;
use axum::extract::State;
use heirloom_protocol::message::{CheckImage, CheckedImage};
use heirloom_protocol::{ErrorCode, Fingerprint, route};
use serde::Deserialize;

use super::caller::Adding;
use super::extract::{Message, Said};
use super::{Refusal, Restraint};
use crate::signer::Signer;
use crate::uploads::UploadService;

/// `POST /v1/images/check`
pub(super) async fn check(
    State(assembly): State<UploadService>,
    State(restraint): State<Restraint>,
    State(signer): State<Signer>,
    Adding(caller): Adding,
    Said(images): Said<Vec<CheckImage>>,
) -> Result<Json<Vec<CheckedImage>>, Refusal> {
    restraint.check(caller.token)?;
    let mut checked = assembly.check(&caller, &images).await?;
    for image in &mut checked {
        // What is new is signed; what is only repeated was.
        if let CheckedImage::Linked { receipt } = image {
            *receipt = signer.sign(caller.user, *receipt);
        }
    }
    Ok(Json(checked))
}

impl Message for Vec<CheckImage> {
    /// A thousand images of some 250 bytes each, four times over.
    const BYTES_MAX: usize = 1 << 20;

    fn wrong_in(body: &[u8]) -> ErrorCode {
        /// As much of it as shows whether only a fingerprint is wrong.
        #[derive(Deserialize)]
        struct Named {
            fingerprint: String,
        }
        let named: Vec<Named> = serde_json::from_slice(body).unwrap_or_default();
        if named
            .iter()
            .any(|image| image.fingerprint.parse::<Fingerprint>().is_err())
        {
            ErrorCode::MalformedFingerprint
        } else {
            ErrorCode::MalformedBody
        }
    }

    fn exceeds_its_limit(&self) -> bool {
        self.len() > route::CHECK_IMAGES_MAX
    }
}
