//! Inspection: one reading of a stored image that answers two questions at once. Are these still
//! the bytes that were stored? And does the proof speak of them?

use bytes::Bytes;
use futures_util::StreamExt as _;
use heirloom_protocol::possession::{Nonce, Proof, Prover, UserId};
use heirloom_protocol::{ByteRange, Fingerprint, Fingerprinter};
use tokio::sync::mpsc;

use crate::blobs::{BlobError, Blobs};

/// Pieces that may wait for the hashing: enough to keep disk and processor busy at once, few enough
/// to be no memory worth speaking of.
const PIECES_AHEAD: usize = 4;

/// What an inspection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofResult {
    /// The bytes are sound, and whoever made the proof had them.
    Valid,
    /// The bytes are sound; the proof is not of them.
    Invalid,
    /// The bytes are not those of the fingerprint (any more), or gone.
    Corrupt,
    /// The storage did not answer; says nothing about the image.
    Unreadable,
}

/// Reads the image once. Hashing runs on a blocking thread, fed through a short queue; it ends by
/// itself when this future is dropped.
pub(super) async fn verify_image(
    blobs: &dyn Blobs,
    fingerprint: Fingerprint,
    size: u64,
    proof: Proof,
    user: UserId,
    nonces: &[Nonce; 2],
) -> ProofResult {
    let (pieces, queue) = mpsc::channel(PIECES_AHEAD);
    let sums = Sums::new(user, size, nonces);
    let hashing = tokio::task::spawn_blocking(move || sums.over(queue));
    if let Err(error) = feed(blobs, fingerprint, size, pieces).await {
        return unread(fingerprint, &error);
    }
    match hashing.await {
        Ok(sums) => sums.verdict(fingerprint, proof),
        Err(error) => {
            tracing::error!(%fingerprint, %error, "hash a stored image");
            ProofResult::Unreadable
        }
    }
}

async fn feed(
    blobs: &dyn Blobs,
    fingerprint: Fingerprint,
    size: u64,
    pieces: mpsc::Sender<Bytes>,
) -> Result<(), BlobError> {
    let Ok(whole) = ByteRange::new(0, size) else {
        return Ok(());
    };
    let mut stored = blobs.read(fingerprint, whole).await?;
    while let Some(piece) = stored.next().await {
        let piece = piece.map_err(|source| BlobError::Io {
            doing: "read image",
            path: fingerprint.to_string().into(),
            source,
        })?;
        if pieces.send(piece).await.is_err() {
            break; // The hashing is gone; its own result says why.
        }
    }
    Ok(())
}

fn unread(fingerprint: Fingerprint, error: &BlobError) -> ProofResult {
    match error {
        BlobError::Missing(_) | BlobError::TooShort { .. } => ProofResult::Corrupt,
        BlobError::Io { .. }
        | BlobError::Full { .. }
        | BlobError::WrongFingerprint { .. }
        | BlobError::WrongLength { .. }
        | BlobError::Sender { .. } => {
            tracing::warn!(%fingerprint, %error, "read a stored image back");
            ProofResult::Unreadable
        }
    }
}

/// The three hashes that one pass makes.
struct Sums {
    fingerprinter: Fingerprinter,
    provers: [Prover; 2],
}

struct Summed {
    fingerprint: Fingerprint,
    proofs: [Proof; 2],
}

impl Sums {
    fn new(user: UserId, size: u64, nonces: &[Nonce; 2]) -> Self {
        let provers = [
            Prover::new(&nonces[0], user, size),
            Prover::new(&nonces[1], user, size),
        ];
        Self {
            fingerprinter: Fingerprinter::default(),
            provers,
        }
    }

    fn over(mut self, mut queue: mpsc::Receiver<Bytes>) -> Summed {
        while let Some(piece) = queue.blocking_recv() {
            self.fingerprinter.update(&piece);
            self.provers
                .iter_mut()
                .for_each(|prover| prover.update(&piece));
        }
        Summed {
            fingerprint: self.fingerprinter.finish(),
            proofs: self.provers.map(Prover::finish),
        }
    }
}

impl Summed {
    /// Proofs compare in constant time.
    fn verdict(&self, fingerprint: Fingerprint, proof: Proof) -> ProofResult {
        if self.fingerprint != fingerprint {
            ProofResult::Corrupt
        } else if self.proofs.contains(&proof) {
            ProofResult::Valid
        } else {
            ProofResult::Invalid
        }
    }
}
