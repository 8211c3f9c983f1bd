//! Fresh receipts: the server reads and verifies the stored bytes before it signs.

use axum::Json;
use axum::extract::State;
use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::FreshReceipt;

use super::caller::CanRead;
use super::extract::ImagePath;
use super::{ChangeNotifier, ErrorResponse};
use crate::clock::Clock;
use crate::scrub::{Integrity, Scrubber};
use crate::signer::Signer;
use crate::uploads::UploadService;

/// `GET /v1/images/{fingerprint}/receipt`
pub(super) async fn fresh(
    State(uploads): State<UploadService>,
    State(scrubber): State<Scrubber>,
    State(signer): State<Signer>,
    State(clock): State<Clock>,
    State(notifier): State<ChangeNotifier>,
    CanRead(caller): CanRead,
    ImagePath(fingerprint): ImagePath,
) -> Result<Json<FreshReceipt>, ErrorResponse> {
    let Some(image) = uploads.image(&caller, fingerprint).await? else {
        return Err(ErrorCode::NotFound.into());
    };
    let receipt = image.receipt();
    match scrubber.verify_now(fingerprint, receipt.size).await? {
        Integrity::Intact => {
            let receipt = signer.sign(caller.user, receipt);
            Ok(Json(FreshReceipt {
                receipt,
                hashed_at_ms: clock.now_ms(),
            }))
        }
        Integrity::Corrupt => {
            // Wakes the devices that may be able to send the image again.
            notifier.notify_all();
            Err(ErrorCode::NotFound.into())
        }
        Integrity::Unreadable => Err(ErrorCode::Unavailable.into()),
    }
}
