//! Looking: one stored image, read to its end and hashed.

use std::io;

use futures_util::StreamExt as _;
use heirloom_protocol::{ByteRange, Fingerprint, Fingerprinter};
use tokio::task::spawn_blocking;

use super::Throttle;
use crate::blobs::{BlobError, Blobs};

/// "Input/output error" (errno(3), EIO): what a disk answers for a sector that it has lost.
const EIO: i32 = 5;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The bytes are those of the fingerprint.
    Intact,
    /// They are not, or they are gone, or the disk has lost some of them.
    Corrupt,
    /// The storage did not answer; says nothing about the image.
    Unreadable,
}

/// Reads an image at the pace.
pub(super) async fn verify_image(
    blobs: &dyn Blobs,
    fingerprint: Fingerprint,
    size: u64,
    throttle: &mut Throttle,
) -> Integrity {
    match found(blobs, fingerprint, size, throttle).await {
        Ok(found) if found == fingerprint => Integrity::Intact,
        Ok(_) => Integrity::Corrupt,
        Err(error) if is_lost(&error) => Integrity::Corrupt,
        Err(error) => {
            tracing::warn!(%fingerprint, error = &error as &dyn std::error::Error, "a stored image cannot be read now");
            Integrity::Unreadable
        }
    }
}

/// The fingerprint that the bytes have.
async fn found(
    blobs: &dyn Blobs,
    fingerprint: Fingerprint,
    size: u64,
    throttle: &mut Throttle,
) -> Result<Fingerprint, BlobError> {
    let failed = |source| BlobError::Io {
        doing: "read image",
        path: fingerprint.to_string().into(),
        source,
    };
    let mut hashing = Fingerprinter::default();
    if let Ok(whole) = ByteRange::new(0, size) {
        let mut pieces = blobs.read(fingerprint, whole).await?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(failed)?;
            throttle.keep(piece.len() as u64).await;
            // Off the reactor: a piece takes a millisecond.
            let hashed = spawn_blocking(move || {
                hashing.update(&piece);
                hashing
            });
            hashing = hashed
                .await
                .map_err(|stopped| failed(io::Error::other(stopped)))?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use super::*;
    use crate::blobs::LocalBlobs;
    use crate::config::DataDir;

    const CONTENT: &[u8] = b"not much of a photo";

    #[tokio::test]
    async fn an_image_is_sound_that_has_its_bytes_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let blobs = LocalBlobs::open(&data).await.unwrap();
        let (fingerprint, size) = (Fingerprint::of(CONTENT), CONTENT.len() as u64);
        drop(
            blobs
                .store_batch(vec![(fingerprint, Bytes::from_static(CONTENT))])
                .await
                .unwrap(),
        );
        let name = fingerprint.to_string();
        let image = data.images().join(&name[..2]).join(&name);
        let others: [&[u8]; 4] = [
            b"not much of a Photo",
            b"not much of a phot",
            b"not much of a photo!",
            b"",
        ];
        for (stands, verdict) in others
            .map(|other| (other, Integrity::Corrupt))
            .into_iter()
            .chain([(CONTENT, Integrity::Intact)])
        {
            fs::write(&image, stands).unwrap();
            assert_eq!(
                verify_image(&blobs, fingerprint, size, &mut Throttle::new(u64::MAX)).await,
                verdict,
                "{stands:?}"
            );
        }
        fs::remove_file(&image).unwrap();
        assert_eq!(
            verify_image(&blobs, fingerprint, size, &mut Throttle::new(u64::MAX)).await,
            Integrity::Corrupt
        );
    }

    #[test]
    fn what_a_disk_lost_is_damage_and_what_it_does_not_give_now_is_not() {
        let failed = |source| BlobError::Io {
            doing: "read image",
            path: "image".into(),
            source,
        };
        assert!(is_lost(&failed(io::Error::from_raw_os_error(EIO))));
        assert!(is_lost(&failed(io::ErrorKind::UnexpectedEof.into())));
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::TimedOut,
            io::ErrorKind::OutOfMemory,
        ] {
            assert!(!is_lost(&failed(kind.into())), "{kind}");
        }
    }
}
