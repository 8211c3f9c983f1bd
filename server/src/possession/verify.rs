//! Verifying a proof: reading a stored image once decides both whether its bytes are intact and
//! whether the proof matches them.

use bytes::Bytes;
use futures_util::StreamExt as _;
use heirloom_protocol::possession::{Nonce, Proof, Prover, UserId};
use heirloom_protocol::{ByteRange, Fingerprint, Fingerprinter};
use tokio::sync::mpsc;

use crate::blobs::{BlobError, BlobStore};

/// Pieces queued for hashing: enough to keep disk and processor busy at once, few enough to take
/// little memory.
const PIECES_AHEAD: usize = 4;

/// The result of verifying a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofResult {
    /// The image is intact, and the proof matches it.
    Valid,
    /// The image is intact; the proof does not match it.
    Invalid,
    /// The stored bytes do not match the fingerprint (any more), or are missing.
    Corrupt,
    /// The storage failed; this says nothing about the image.
    Unreadable,
}

/// Reads the image once and verifies the proof. Hashing runs on a blocking thread, fed through a
/// short queue; it ends by itself when this future is dropped.
pub(super) async fn verify_image(
    blobs: &dyn BlobStore,
    fingerprint: Fingerprint,
    size: u64,
    proof: Proof,
    user: UserId,
    nonces: &[Nonce; 2],
) -> ProofResult {
    let (pieces, queue) = mpsc::channel(PIECES_AHEAD);
    let hashers = Hashers::new(user, size, nonces);
    let hashing = tokio::task::spawn_blocking(move || hashers.run(queue));
    if let Err(error) = feed(blobs, fingerprint, size, pieces).await {
        return result_of_error(fingerprint, &error);
    }
    match hashing.await {
        Ok(digests) => digests.result(fingerprint, proof),
        Err(error) => {
            tracing::error!(%fingerprint, %error, "could not hash a stored image");
            ProofResult::Unreadable
        }
    }
}

async fn feed(
    blobs: &dyn BlobStore,
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
            break; // The hashing task ended; its result says why.
        }
    }
    Ok(())
}

fn result_of_error(fingerprint: Fingerprint, error: &BlobError) -> ProofResult {
    match error {
        BlobError::Missing(_) | BlobError::TooShort { .. } => ProofResult::Corrupt,
        BlobError::Io { .. }
        | BlobError::Full { .. }
        | BlobError::WrongFingerprint { .. }
        | BlobError::WrongLength { .. }
        | BlobError::Sender { .. } => {
            tracing::warn!(%fingerprint, %error, "could not read a stored image");
            ProofResult::Unreadable
        }
    }
}

/// The hash functions of one pass: the fingerprint, and a proof per accepted nonce.
struct Hashers {
    fingerprinter: Fingerprinter,
    provers: [Prover; 2],
}

/// The results of one pass.
struct Digests {
    fingerprint: Fingerprint,
    proofs: [Proof; 2],
}

impl Hashers {
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

    /// Hashes all queued pieces.
    fn run(mut self, mut queue: mpsc::Receiver<Bytes>) -> Digests {
        while let Some(piece) = queue.blocking_recv() {
            self.fingerprinter.update(&piece);
            self.provers
                .iter_mut()
                .for_each(|prover| prover.update(&piece));
        }
        Digests {
            fingerprint: self.fingerprinter.finish(),
            proofs: self.provers.map(Prover::finish),
        }
    }
}

impl Digests {
    /// Compares proofs in constant time.
    fn result(&self, fingerprint: Fingerprint, proof: Proof) -> ProofResult {
        if self.fingerprint != fingerprint {
            ProofResult::Corrupt
        } else if self.proofs.contains(&proof) {
            ProofResult::Valid
        } else {
            ProofResult::Invalid
        }
    }
}
