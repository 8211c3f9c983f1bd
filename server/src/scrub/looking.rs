//! Looking: one stored image, read to its end and hashed.

use std::io;

use futures_util::StreamExt as _;
use heirloom_protocol::{ByteRange, Fingerprint, Fingerprinter};
use tokio::task::spawn_blocking;

use super::Pace;
use crate::blobs::{BlobError, Blobs};

/// "Input/output error" (errno(3), EIO): what a disk answers for a sector that it has lost.
const EIO: i32 = 5;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes are those of the fingerprint.
    Sound,
    /// They are not, or they are gone, or the disk has lost some of them.
    Damaged,
    /// The storage did not answer; says nothing about the image.
    Unreadable,
}

/// Reads an image at the pace.
pub(super) async fn look(blobs: &dyn Blobs, fingerprint: Fingerprint, size: u64, pace: &mut Pace) -> Verdict {
    match found(blobs, fingerprint, size, pace).await {
        Ok(found) if found == fingerprint => Verdict::Sound,
        Ok(_) => Verdict::Damaged,
        Err(error) if is_lost(&error) => Verdict::Damaged,
        Err(error) => {
            tracing::warn!(%fingerprint, error = &error as &dyn std::error::Error, "a stored image cannot be read now");
            Verdict::Unreadable
        }
    }
}

/// The fingerprint that the bytes have.
async fn found(
    blobs: &dyn Blobs,
    fingerprint: Fingerprint,
    size: u64,
    pace: &mut Pace,
) -> Result<Fingerprint, BlobError> {
    let failed = |source| BlobError::Io { doing: "read image", path: fingerprint.to_string().into(), source };
    let mut hashing = Fingerprinter::default();
    if let Ok(whole) = ByteRange::new(0, size) {
        let mut pieces = blobs.read(fingerprint, whole).await?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(failed)?;
            pace.keep(piece.len() as u64).await;
            // Off the reactor: a piece takes a millisecond.
            let hashed = spawn_blocking(move || {
                hashing.update(&piece);
                hashing
            });
            hashing = hashed.await.map_err(|stopped| failed(io::Error::other(stopped)))?;
        }
    }
    // Longer than it should be is as wrong as another byte.
    match blobs.size(fingerprint).await? {
        Some(found) if found != size => Ok(Fingerprinter::default().finish()),
        Some(_) => Ok(hashing.finish()),
        None => Err(BlobError::Missing(fingerprint)),
    }
}

fn is_lost(error: &BlobError) -> bool {
    match error {
        BlobError::Missing(_) | BlobError::TooShort { .. } => true,
        BlobError::Io { source, .. } => {
            source.raw_os_error() == Some(EIO) || source.kind() == io::ErrorKind::UnexpectedEof
        }
        BlobError::WrongFingerprint { .. }
        | BlobError::WrongLength { .. }
        | BlobError::Sender { .. }
        | BlobError::Full { .. } => false,
    }
}
