//! Verifying one stored image: it is read to its end and hashed.

use std::io;

use futures_util::StreamExt as _;
use heirloom_protocol::{ByteRange, Fingerprint, Fingerprinter};
use tokio::task::spawn_blocking;

use super::Throttle;
use crate::blobs::{BlobError, BlobStore};

/// EIO (errno(3)): the error for a sector that the disk has lost.
const EIO: i32 = 5;

/// The state of a stored image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The bytes match the fingerprint.
    Intact,
    /// The bytes do not match the fingerprint, are missing, or some are unreadable for good.
    Corrupt,
    /// The storage failed; this says nothing about the image.
    Unreadable,
}

/// Reads an image at a limited rate and checks its fingerprint.
pub(super) async fn verify_image(
    blobs: &dyn BlobStore,
    fingerprint: Fingerprint,
    size: u64,
    throttle: &mut Throttle,
) -> Integrity {
    match hash(blobs, fingerprint, size, throttle).await {
        Ok(found) if found == fingerprint => Integrity::Intact,
        Ok(_) => Integrity::Corrupt,
        Err(error) if is_lost(&error) => Integrity::Corrupt,
        Err(error) => {
            tracing::warn!(
                %fingerprint,
                error = &error as &dyn std::error::Error,
                "could not read a stored image"
            );
            Integrity::Unreadable
        }
    }
}

/// Computes the fingerprint of the stored bytes.
async fn hash(
    blobs: &dyn BlobStore,
    fingerprint: Fingerprint,
    size: u64,
    throttle: &mut Throttle,
) -> Result<Fingerprint, BlobError> {
    let failed = |source| BlobError::Io {
        doing: "read image",
        path: fingerprint.to_string().into(),
        source,
    };
    let mut fingerprinter = Fingerprinter::default();
    if let Ok(whole) = ByteRange::new(0, size) {
        let mut pieces = blobs.read(fingerprint, whole).await?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(failed)?;
            throttle.throttle(piece.len() as u64).await;
            // On a blocking thread: a piece takes a millisecond.
            let hashed = spawn_blocking(move || {
                fingerprinter.update(&piece);
                fingerprinter
            });
            fingerprinter = hashed
                .await
                .map_err(|stopped| failed(io::Error::other(stopped)))?;
        }
    }
    // An image that is too long is as corrupt as one with another byte.
    match blobs.size(fingerprint).await? {
        Some(found) if found != size => Ok(Fingerprinter::default().finish()),
        Some(_) => Ok(fingerprinter.finish()),
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
    use crate::blobs::LocalBlobStore;
    use crate::config::DataDir;

    const CONTENT: &[u8] = b"not much of a photo";

    #[tokio::test]
    async fn an_image_is_intact_only_with_exactly_its_bytes() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let blobs = LocalBlobStore::open(&data).await.unwrap();
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
        for (stored, integrity) in others
            .map(|other| (other, Integrity::Corrupt))
            .into_iter()
            .chain([(CONTENT, Integrity::Intact)])
        {
            fs::write(&image, stored).unwrap();
            assert_eq!(
                verify_image(&blobs, fingerprint, size, &mut Throttle::new(u64::MAX)).await,
                integrity,
                "{stored:?}"
            );
        }
        fs::remove_file(&image).unwrap();
        assert_eq!(
            verify_image(&blobs, fingerprint, size, &mut Throttle::new(u64::MAX)).await,
            Integrity::Corrupt
        );
    }

    #[test]
    fn lost_sectors_are_corruption_and_passing_errors_are_not() {
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
