//! A fresh receipt: the stored bytes are read and hashed before the server signs for them.

use axum::Json;
use axum::extract::State;
use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::FreshReceipt;

use super::caller::Asking;
use super::extract::NamedImage;
use super::{News, Refusal};
use crate::clock::Clock;
use crate::scrub::{Scrub, Verdict};
use crate::signer::Signer;
use crate::uploads::Assembly;

/// `GET /v1/images/{fingerprint}/receipt`
pub(super) async fn fresh(
    State(assembly): State<Assembly>,
    State(scrub): State<Scrub>,
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
    match scrub.look_now(fingerprint, receipt.size).await? {
        Verdict::Sound => {
            let receipt = signer.sign(caller.user, receipt);
            Ok(Json(FreshReceipt {
                receipt,
                hashed_at_ms: clock.now_ms(),
            }))
        }
        Verdict::Damaged => {
            // Whoever has it may hear at once that it is asked for.
            news.tell_everybody();
            Err(ErrorCode::NotFound.into())
        }
        Verdict::Unreadable => Err(ErrorCode::Unavailable.into()),
    }
}
