//! By hand: one image to the server, without queue, journal or mount (`heirloom push`).

use std::sync::Arc;

use heirloom_protocol::ByteRange;
use heirloom_protocol::message::{CheckImage, CheckedImage, CrossUser, Receipt, Session};
use heirloom_protocol::possession::{self, Proof};

use super::carrier::Carrier;
use super::delivery::{Believed, DeliveryError, Witness};
use super::image::{Image, ImageError};
use crate::background::run_blocking;

/// How an image came to be backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackedUp {
    /// It was before: nothing was sent.
    Already(Receipt),
    /// Another user's copy was linked after proof: nothing was sent.
    Linked(Receipt),
    /// It was sent.
    Sent(Receipt),
}

impl BackedUp {
    /// What the server vouches for.
    pub const fn receipt(&self) -> &Receipt {
        match self {
            Self::Already(receipt) | Self::Linked(receipt) | Self::Sent(receipt) => receipt,
        }
    }
}

/// For those who keep no shard list and show no progress: the server's list is enough to go on
/// from.
#[derive(Clone, Copy, Debug)]
pub struct Unwitnessed;

impl Witness for Unwitnessed {
    fn acknowledged(&self, _range: ByteRange) {}
    fn progressed(&self, _received_bytes: u64) {}
}

impl Carrier {
    /// Asks for one image, and sends it if it has to be sent. Several may be under way: they share
    /// the budget.
    ///
    /// May be dropped half-way: what was acknowledged need not be sent again.
    pub async fn back_up(
        &self,
        image: Arc<Image>,
        witness: Arc<dyn Witness>,
    ) -> Result<BackedUp, DeliveryError> {
        let session = self.remote().session().await?;
        let (fingerprint, size) = (image.fingerprint(), image.size());
        let proof = proof_of(Arc::clone(&image), &session).await?;
        let checked = self
            .remote()
            .check(&[CheckImage {
                fingerprint,
                size,
                proof,
            }])
            .await?;
        let held = match checked.into_iter().next() {
            Some(CheckedImage::Owned { receipt }) => return Ok(BackedUp::Already(receipt)),
            Some(CheckedImage::Linked { receipt }) => return Ok(BackedUp::Linked(receipt)),
            Some(CheckedImage::Interrupted { received, .. }) => received,
            Some(CheckedImage::Absent { .. }) | None => heirloom_protocol::RangeSet::new(),
        };
        witness.progressed(held.byte_count());
        let receipt = self
            .deliver(image, session.limits, Believed::Said(held), witness)
            .await?;
        Ok(BackedUp::Sent(receipt))
    }
}

/// The proof for a check, where one is of use.
async fn proof_of(image: Arc<Image>, session: &Session) -> Result<Option<Proof>, ImageError> {
    if session.cross_user != CrossUser::Proof || image.size() < possession::SIZE_MIN {
        return Ok(None);
    }
    let session = session.clone();
    run_blocking(move || image.prove(&session)).await.map(Some)
}
