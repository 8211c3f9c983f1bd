//! Possession: whether somebody who names an image also has its bytes (M9).
//!
//! Instant upload links an image that another user brought. A fingerprint alone must not do that,
//! nor even tell that the image is here, so the asker sends a proof that only the bytes can make
//! (see [`heirloom_protocol::possession`]) and the server makes the same proof from what it stored.
//! Every way of not being convinced is one answer, `None`, the answer for an unknown image.

mod verify;
mod nonces;

use std::collections::HashMap;
use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::{CheckImage, CrossUser, Receipt};
use heirloom_protocol::possession::{Nonce, Proof, SIZE_MIN, UserId};
use tokio::sync::Semaphore;

use crate::accounts::Caller;
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::index::{Index, IndexError, QuarantineOutcome};
use crate::metrics::SharedCounters;
use crate::range_lock::RangeLock;

use nonces::Nonces;
use verify::ProofResult;

/// Wrong proofs for images that are here, per user and day (UTC). Whoever has spent them uploads in
/// full, as everybody could. Bounds what can be learned from how long an answer takes, and the
/// reading that lies can cause.
pub const PROOF_FAILURES_PER_DAY: u32 = 3;

/// Images read back at a time. More would take the disk from those who upload.
const INSPECTIONS_MAX: usize = 2;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Checks proofs. Clones share their limits.
#[derive(Clone, Debug)]
pub struct Possession {
    policy: CrossUser,
    nonces: Nonces,
    index: Index,
    blobs: Arc<dyn Blobs>,
    clock: Clock,
    counters: SharedCounters,
    /// Free inspections.
    inspections: Arc<Semaphore>,
    /// One inspection of a user's at a time: two wrong proofs at once must not both be the third.
    askers: RangeLock<UserId>,
}

/// Images that are here and may be linked, with their lengths in bytes.
#[derive(Debug, Default)]
pub struct LinkCandidates(HashMap<Fingerprint, u64>);

/// What kept a proof from being checked at all.
#[derive(Debug, thiserror::Error)]
pub enum PossessionError {
    /// The index failed.
    #[error("look up who holds {0}")]
    Index(Fingerprint, #[source] IndexError),
}

impl Possession {
    /// Checks proofs against what `index` knows and `blobs` has. `secret` is the installation's.
    pub fn new(
        policy: CrossUser,
        secret: [u8; 32],
        index: Index,
        blobs: Arc<dyn Blobs>,
        clock: Clock,
        counters: SharedCounters,
    ) -> Self {
        let inspections = Arc::new(Semaphore::new(INSPECTIONS_MAX));
        let nonces = Nonces::of(secret);
        Self {
            policy,
            nonces,
            index,
            blobs,
            clock,
            counters,
            inspections,
            askers: RangeLock::default(),
        }
    }

    /// What the caller should do about images of other users. Where there are none, a proof could
    /// link nothing, and making it costs a reading of every photo.
    pub async fn policy_for(&self, caller: &Caller) -> Result<CrossUser, IndexError> {
        match self.policy {
            CrossUser::Proof if self.index.has_others_than(caller.user).await? => {
                Ok(CrossUser::Proof)
            }
            CrossUser::Proof | CrossUser::Off => Ok(CrossUser::Off),
        }
    }

    /// The nonce to make proofs with, and for how many more seconds it is the newest.
    pub fn nonce(&self, caller: &Caller) -> (Nonce, u64) {
        self.nonces.newest(caller.token, self.clock.now_ms())
    }

    /// Which of these images somebody brought, as far as a proof could link them. One statement for
    /// all: most images of a check are new, and none of them is worth one of its own.
    pub async fn candidates(
        &self,
        images: &[&CheckImage],
    ) -> Result<LinkCandidates, PossessionError> {
        let may_be_linked = |image: &&&CheckImage| image.proof.is_some() && image.size >= SIZE_MIN;
        let asked: Vec<_> = match self.policy {
            CrossUser::Proof => images
                .iter()
                .filter(may_be_linked)
                .map(|image| image.fingerprint)
                .collect(),
            CrossUser::Off => Vec::new(),
        };
        let Some(first) = asked.first() else {
            return Ok(LinkCandidates::default());
        };
        let sizes = self.index.image_sizes(&asked).await;
        sizes
            .map(LinkCandidates)
            .map_err(|source| PossessionError::Index(*first, source))
    }

    /// Links an image that somebody `brought` to `caller`, if its proof is right. `None` otherwise,
    /// for whatever reason.
    ///
    /// May be dropped half-way: then the image is linked or it is not.
    pub async fn verify(
        &self,
        caller: &Caller,
        image: &CheckImage,
        candidates: &LinkCandidates,
    ) -> Result<Option<Receipt>, PossessionError> {
        let Some(proof) = image.proof else {
            return Ok(None);
        };
        let linked = if candidates.0.get(&image.fingerprint) == Some(&image.size) {
            self.verify_proof(caller, image, proof).await
        } else {
            Ok(None)
        };
        if matches!(linked, Ok(None)) {
            self.counters.proofs_refused.add_one();
        }
        linked.map_err(|source| PossessionError::Index(image.fingerprint, source))
    }

    async fn verify_proof(
        &self,
        caller: &Caller,
        image: &CheckImage,
        proof: Proof,
    ) -> Result<Option<Receipt>, IndexError> {
        let _turn = self.askers.lock_all(caller.user).await;
        let today = self.clock.now_ms().div_euclid(DAY_MS);
        if self.index.proof_failures(caller.user, today).await? >= PROOF_FAILURES_PER_DAY {
            return Ok(None);
        }
        match self.inspect(caller, image, proof).await {
            ProofResult::Valid => self.link(caller, image).await,
            ProofResult::Invalid => {
                self.index.count_proof_failure(caller.user, today).await?;
                Ok(None)
            }
            ProofResult::Corrupt => {
                self.quarantine(image).await?;
                Ok(None)
            }
            ProofResult::Unreadable => Ok(None),
        }
    }

    async fn inspect(&self, caller: &Caller, image: &CheckImage, proof: Proof) -> ProofResult {
        let _free = self
            .inspections
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let nonces = self.nonces.good(caller.token, self.clock.now_ms());
        verify::verify_image(
            self.blobs.as_ref(),
            image.fingerprint,
            image.size,
            proof,
            caller.user,
            &nonces,
        )
        .await
    }

    async fn link(
        &self,
        caller: &Caller,
        image: &CheckImage,
    ) -> Result<Option<Receipt>, IndexError> {
        heirloom_crash::reached(CrashPoint::ProofVerified);
        let linked = match self.index.link(caller.user, image.fingerprint).await {
            // Sent in full, it is refused for the same reason, and there the sender hears of it.
            Err(IndexError::OverQuota { .. }) => None,
            linked => linked?,
        };
        heirloom_crash::reached(CrashPoint::LinkRecorded);
        if linked.is_some() {
            self.counters.images_linked.add_one();
            tracing::info!(user = %caller.user, fingerprint = %image.fingerprint, "linked after proof of possession");
        }
        Ok(linked)
    }

    /// The index first: from then on nobody is told that the image is here, whatever becomes of the
    /// file.
    async fn quarantine(&self, image: &CheckImage) -> Result<(), IndexError> {
        match self.index.quarantine(image.fingerprint).await? {
            QuarantineOutcome::Marked => {}
            // Its last holder let go of it, and it was cleared away while it was read.
            QuarantineOutcome::Gone => return Ok(()),
        }
        tracing::warn!(fingerprint = %image.fingerprint, "a stored image is damaged; quarantined until it is sent again");
        self.counters.images_quarantined.add_one();
        heirloom_crash::reached(CrashPoint::DamageRecorded);
        if let Err(error) = self.blobs.quarantine(image.fingerprint).await {
            // Not fatal: whoever uploads it again replaces the file.
            tracing::warn!(fingerprint = %image.fingerprint, %error, "move a damaged image aside");
        }
        Ok(())
    }
}
