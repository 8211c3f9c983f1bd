//! A fresh receipt: the stored bytes are read and hashed before the server signs for them.

use axum::Json;
use axum::extract::State;
use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::FreshReceipt;

use super::caller::Asking;
use super::extract::NamedImage;
use super::{News, Refusal};
use crate::clock::Clock;
use crate::scrub::{Integrity, Scrubber};
use crate::signer::Signer;
use crate::uploads::UploadService;

/// `GET /v1/images/{fingerprint}/receipt`
pub(super) async fn fresh(
    State(assembly): State<UploadService>,
    State(scrub): State<Scrubber>,
    State(signer): State<Signer>,
    State(clock): State<Clock>,
    State(news): State<News>,
    Asking(caller): Asking,
    NamedImage(fingerprint): NamedImage,
) -> Result<Json<FreshReceipt>, Refusal> {
    let Some(image) = assembly.image(&caller, fingerprint).await? else {
        return Err(ErrorCode::NotFound.into());
    };
    let receipt = image.receipt();
    match scrub.verify_now(fingerprint, receipt.size).await? {
        Integrity::Intact => {
            let receipt = signer.sign(caller.user, receipt);
            Ok(Json(FreshReceipt {
                receipt,
                hashed_at_ms: clock.now_ms(),
            }))
        }
        Integrity::Corrupt => {
            // Whoever has it may hear at once that it is asked for.
            news.tell_everybody();
            Err(ErrorCode::NotFound.into())
        }
        Integrity::Unreadable => Err(ErrorCode::Unavailable.into()),
    }
}
