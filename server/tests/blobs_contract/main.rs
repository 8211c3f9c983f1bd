//! The contract of blobs: what every place for bytes must keep.
//!
//! The promises are functions over a [`Place`]. Another implementation passes them by one more
//! constructor and one more list.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint};
use heirloom_server::blobs::{BlobError, Blobs, ByteStream, LocalBlobs, Prefix, UploadKey};
use heirloom_server::config::DataDir;

mod gc;
mod images;
mod uploads;

/// An empty place for bytes that can be opened again.
struct Place {
    data: DataDir,
    _folder: tempfile::TempDir,
}

impl Place {
    fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            data: DataDir::open(&folder.path().join("data")).unwrap(),
            _folder: folder,
        }
    }

    async fn open(&self) -> Arc<dyn Blobs> {
        Arc::new(LocalBlobs::open(&self.data).await.unwrap())
    }

    /// Flips a bit of a stored image, as a dying disk would.
    fn damage(&self, image: &Image) {
        let name = image.fingerprint.to_string();
        let path = self.data.images().join(&name[..2]).join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
}

/// Made-up content.
#[derive(Clone)]
struct Image {
    bytes: Bytes,
    fingerprint: Fingerprint,
}

impl Image {
    /// Content of this length; another for each seed.
    fn new(seed: u64, length: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(length)
            .collect();
        Self {
            fingerprint: Fingerprint::of(&bytes),
            bytes: bytes.into(),
        }
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The content in pieces, as a network brings it.
    fn body(&self, piece: usize) -> ByteStream<'static> {
        let pieces: Vec<_> = self
            .bytes
            .chunks(piece)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        stream::iter(pieces).boxed()
    }

    fn section(&self) -> Prefix {
        Prefix::of(self.fingerprint)
    }

    fn key(&self, user: i64) -> UploadKey {
        UploadKey {
            user: UserId(user),
            fingerprint: self.fingerprint,
        }
    }

    async fn store(&self, blobs: &dyn Blobs) -> Result<(), BlobError> {
        blobs
            .store(self.fingerprint, self.size(), self.body(60_000))
            .await
            .map(drop)
    }

    async fn write(&self, blobs: &dyn Blobs, user: i64, start: usize, end: usize) {
        blobs
            .write(self.key(user), start as u64, self.bytes.slice(start..end))
            .await
            .unwrap();
    }

    /// That the image is stored as it is, from the first byte to the last.
    async fn assert_stored(&self, blobs: &dyn Blobs) {
        assert_eq!(
            blobs.size(self.fingerprint).await.unwrap(),
            Some(self.size())
        );
        if let Ok(whole) = ByteRange::new(0, self.size()) {
            assert!(
                read(blobs, self.fingerprint, whole).await.unwrap() == self.bytes,
                "other bytes are stored"
            );
        }
    }

    async fn assert_absent(&self, blobs: &dyn Blobs) {
        assert_eq!(blobs.size(self.fingerprint).await.unwrap(), None);
        let first = ByteRange::new(0, 1).unwrap();
        let read = blobs.read(self.fingerprint, first).await.map(drop);
        assert!(
            matches!(read, Err(BlobError::Missing(fingerprint)) if fingerprint == self.fingerprint)
        );
    }
}

async fn read(
    blobs: &dyn Blobs,
    fingerprint: Fingerprint,
    range: ByteRange,
) -> Result<Vec<u8>, BlobError> {
    let pieces: Vec<Bytes> = blobs
        .read(fingerprint, range)
        .await?
        .try_collect()
        .await
        .unwrap();
    Ok(pieces.concat())
}

/// Ends the body with an error after these bytes.
fn broken_off(bytes: &Bytes) -> ByteStream<'static> {
    stream::iter([
        Ok(bytes.clone()),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ])
    .boxed()
}

/// One test for each promise, over one kind of place.
macro_rules! kept_by {
    ($place:expr; $($part:ident: $($promise:ident),+;)+) => {$(
        mod $part {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::$part::$promise(&$place).await;
                }
            )+
        }
    )+};
}

/// The local directory.
mod local {
    kept_by! { crate::Place::local();
        images:
            a_stored_image_is_read_back_byte_for_byte,
            any_range_of_an_image_can_be_read,
            storing_again_is_fine,
            the_wrong_content_leaves_nothing,
            the_wrong_length_leaves_nothing,
            several_images_are_stored_at_once,
            of_several_only_the_damaged_are_left_out,
            a_sender_that_stops_leaves_nothing,
            the_wrong_content_does_not_harm_what_is_stored,
            eight_may_store_the_same_image_at_once,
            a_store_dropped_half_way_leaves_nothing,
            reopening_keeps_images,
            a_damaged_image_is_moved_away_and_can_be_brought_again,
            storing_a_damaged_image_again_heals_it,
            a_healthy_image_is_not_quarantined,
            a_reader_is_not_disturbed_by_a_new_copy;
        uploads:
            shards_in_any_order_become_the_image,
            shards_written_at_once_become_the_image,
            sealing_twice_is_fine,
            there_is_nothing_to_seal_without_an_upload,
            sealing_the_wrong_content_leaves_no_image,
            sealing_the_wrong_length_leaves_no_image,
            users_never_share_an_upload,
            discarding_twice_is_fine,
            reopening_keeps_uploads,
            a_late_shard_never_reaches_the_image,
            eight_may_seal_at_once;
        gc:
            a_removed_image_is_gone_wherever_it_stood,
            what_was_just_stored_stays_until_its_stay_ends,
            nobody_stores_where_somebody_removes,
            what_stands_is_listed_with_its_age;
    }
}
