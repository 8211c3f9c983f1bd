//! Proof of possession: whether a user who names an image also has its bytes.
//!
//! Instant upload links an image that another user uploaded. A fingerprint alone must not do that,
//! nor even reveal that the image is stored, so the client sends a proof that only the bytes can
//! make (see [`heirloom_protocol::possession`]), and the server computes the same proof from the
//! stored bytes. Every failure has the same result, `None`, which is also that of an unknown image.

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
use crate::blobs::BlobStore;
use crate::clock::Clock;
use crate::index::{Index, IndexError, QuarantineOutcome};
use crate::metrics::SharedCounters;
use crate::range_lock::RangeLock;

use nonces::Nonces;
use verify::ProofResult;

/// Failed proofs for stored images per user and day (UTC). A user who exceeds it uploads in full,
/// as everybody can. Bounds what response times reveal, and the disk reads that false proofs cause.
pub const PROOF_FAILURES_PER_DAY: u32 = 3;

/// Images read at a time to verify proofs. More would take the disk from uploads.
const VERIFICATIONS_MAX: usize = 2;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Verifies proofs of possession. Clones share their limits.
#[derive(Clone, Debug)]
pub struct Possession {
    policy: CrossUser,
    nonces: Nonces,
    index: Index,
    blobs: Arc<dyn BlobStore>,
    clock: Clock,
    counters: SharedCounters,
    /// Permits to read an image.
    permits: Arc<Semaphore>,
    /// One verification per user at a time: two false proofs at once must not both be the third.
    user_locks: RangeLock<UserId>,
}

/// Stored images that may be linked, with their lengths in bytes.
#[derive(Debug, Default)]
pub struct LinkCandidates(HashMap<Fingerprint, u64>);

/// Why a proof could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum PossessionError {
    /// The index failed.
    #[error("look up the holders of image {0}")]
    Index(Fingerprint, #[source] IndexError),
}

impl Possession {
    /// A verifier over `index` and `blobs`. `secret` is the installation's.
    pub fn new(
        policy: CrossUser,
        secret: [u8; 32],
        index: Index,
        blobs: Arc<dyn BlobStore>,
        clock: Clock,
        counters: SharedCounters,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(VERIFICATIONS_MAX));
        let nonces = Nonces::of(secret);
        Self {
            policy,
            nonces,
            index,
            blobs,
            clock,
            counters,
            permits,
            user_locks: RangeLock::default(),
        }
    }

    /// Whether the caller should send proofs. Where there are no other users, a proof could link
    /// nothing, and making it costs reading every photo.
    pub async fn policy_for(&self, caller: &Caller) -> Result<CrossUser, IndexError> {
        match self.policy {
            CrossUser::Proof if self.index.has_others_than(caller.user).await? => {
                Ok(CrossUser::Proof)
            }
            CrossUser::Proof | CrossUser::Off => Ok(CrossUser::Off),
        }
    }

    /// The current nonce for proofs, and for how many more seconds it is current.
    pub fn nonce(&self, caller: &Caller) -> (Nonce, u64) {
        self.nonces.current(caller.token, self.clock.now_ms())
    }

    /// Those of `images` that are stored and that a proof could link. One statement for all: most
    /// images of a check are new, and none of them is worth a query of its own.
    pub async fn candidates(
        &self,
        images: &[&CheckImage],
    ) -> Result<LinkCandidates, PossessionError> {
        let may_be_linked = |image: &&&CheckImage| image.proof.is_some() && image.size >= SIZE_MIN;
        let with_proof: Vec<_> = match self.policy {
            CrossUser::Proof => images
                .iter()
                .filter(may_be_linked)
                .map(|image| image.fingerprint)
                .collect(),
            CrossUser::Off => Vec::new(),
        };
        let Some(first) = with_proof.first() else {
            return Ok(LinkCandidates::default());
        };
        let sizes = self.index.image_sizes(&with_proof).await;
        sizes
            .map(LinkCandidates)
            .map_err(|source| PossessionError::Index(*first, source))
    }

    /// Links one of the `candidates` to `caller` if its proof is valid; `None` otherwise, for
    /// whatever reason.
    ///
    /// May be dropped half-way: the image is then either linked or not.
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
        let _exclusive = self.user_locks.lock_all(caller.user).await;
        let today = self.clock.now_ms().div_euclid(DAY_MS);
        if self.index.proof_failures(caller.user, today).await? >= PROOF_FAILURES_PER_DAY {
            return Ok(None);
        }
        match self.read_and_verify(caller, image, proof).await {
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

    async fn read_and_verify(
        &self,
        caller: &Caller,
        image: &CheckImage,
        proof: Proof,
    ) -> ProofResult {
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let nonces = self.nonces.accepted(caller.token, self.clock.now_ms());
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
            // Uploaded in full, it is refused for the same reason, and the sender is told why.
            Err(IndexError::OverQuota { .. }) => None,
            linked => linked?,
        };
        heirloom_crash::reached(CrashPoint::LinkRecorded);
        if linked.is_some() {
            self.counters.images_linked.add_one();
            tracing::info!(
                user = %caller.user,
                fingerprint = %image.fingerprint,
                "linked after a proof of possession"
            );
        }
        Ok(linked)
    }

    /// The index first: from then on nobody is told that the image is stored, whatever happens to
    /// the file.
    async fn quarantine(&self, image: &CheckImage) -> Result<(), IndexError> {
        match self.index.quarantine(image.fingerprint).await? {
            QuarantineOutcome::Marked => {}
            // It became unreferenced and was garbage collected while it was read.
            QuarantineOutcome::Gone => return Ok(()),
        }
        tracing::warn!(
            fingerprint = %image.fingerprint,
            "a stored image is corrupt; quarantined until it is uploaded again"
        );
        self.counters.images_quarantined.add_one();
        heirloom_crash::reached(CrashPoint::DamageRecorded);
        if let Err(error) = self.blobs.quarantine(image.fingerprint).await {
            // Not fatal: the next upload of the image replaces the file.
            tracing::warn!(
                fingerprint = %image.fingerprint,
                %error,
                "could not move a corrupt image to the quarantine"
            );
        }
        Ok(())
    }
}
