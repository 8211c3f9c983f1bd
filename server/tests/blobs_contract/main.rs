//! The contract suite of blob stores: what must hold for every implementation.
//!
//! Each test is a function over a [`TestStore`]. Another implementation runs the suite with one
//! more constructor and one more list.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint};
use heirloom_server::blobs::{BlobError, BlobStore, ByteStream, LocalBlobStore, Prefix, UploadKey};
use heirloom_server::config::DataDir;

mod gc;
mod images;
mod uploads;

/// A new, empty blob store that can be reopened.
struct TestStore {
    data: DataDir,
    _folder: tempfile::TempDir,
}

impl TestStore {
    fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            data: DataDir::open(&folder.path().join("data")).unwrap(),
            _folder: folder,
        }
    }

    async fn open(&self) -> Arc<dyn BlobStore> {
        Arc::new(LocalBlobStore::open(&self.data).await.unwrap())
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

    fn prefix(&self) -> Prefix {
        Prefix::of(self.fingerprint)
    }

    fn key(&self, user: i64) -> UploadKey {
        UploadKey {
            user: UserId(user),
            fingerprint: self.fingerprint,
        }
    }

    async fn store(&self, blobs: &dyn BlobStore) -> Result<(), BlobError> {
        blobs
            .store(self.fingerprint, self.size(), self.body(60_000))
            .await
            .map(drop)
    }

    async fn write(&self, blobs: &dyn BlobStore, user: i64, start: usize, end: usize) {
        blobs
            .write(self.key(user), start as u64, self.bytes.slice(start..end))
            .await
            .unwrap();
    }

    /// That the image is stored as it is, from the first byte to the last.
    async fn assert_stored(&self, blobs: &dyn BlobStore) {
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

    async fn assert_absent(&self, blobs: &dyn BlobStore) {
        assert_eq!(blobs.size(self.fingerprint).await.unwrap(), None);
        let first = ByteRange::new(0, 1).unwrap();
        let read = blobs.read(self.fingerprint, first).await.map(drop);
        assert!(
            matches!(read, Err(BlobError::Missing(fingerprint)) if fingerprint == self.fingerprint)
        );
    }
}

async fn read(
    blobs: &dyn BlobStore,
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
fn disconnecting(bytes: &Bytes) -> ByteStream<'static> {
    stream::iter([
        Ok(bytes.clone()),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ])
    .boxed()
}

/// One test per function, over one kind of store.
macro_rules! contract_tests {
    ($fixture:expr; $($part:ident: $($promise:ident),+;)+) => {$(
        mod $part {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::$part::$promise(&$fixture).await;
                }
            )+
        }
    )+};
}

/// The local directory.
mod local {
    contract_tests! { crate::TestStore::local();
        images:
            a_stored_image_is_read_back_byte_for_byte,
            any_range_of_an_image_can_be_read,
            storing_an_image_again_is_fine,
            wrong_content_leaves_nothing,
            a_wrong_length_leaves_nothing,
            a_batch_is_stored,
            only_mismatched_images_of_a_batch_are_left_out,
            a_sender_that_disconnects_leaves_nothing,
            wrong_content_does_not_harm_a_stored_image,
            eight_concurrent_stores_of_one_image_succeed,
            a_store_dropped_half_way_leaves_nothing,
            reopening_keeps_images,
            a_corrupt_image_is_quarantined_and_can_be_stored_again,
            storing_a_corrupt_image_again_repairs_it,
            an_intact_image_is_not_quarantined,
            a_reader_is_not_disturbed_by_a_new_copy;
        uploads:
            shards_in_any_order_become_the_image,
            shards_written_concurrently_become_the_image,
            finishing_twice_is_fine,
            finishing_without_an_upload_fails,
            finishing_wrong_content_leaves_no_image,
            finishing_a_wrong_length_leaves_no_image,
            users_never_share_an_upload,
            discarding_twice_is_fine,
            reopening_keeps_uploads,
            a_late_shard_never_reaches_the_image,
            eight_concurrent_finishes_succeed;
        gc:
            removing_an_image_removes_its_quarantined_copy_too,
            a_stored_image_is_protected_until_its_guard_is_dropped,
            stores_wait_while_their_prefix_is_locked,
            stored_images_are_listed_with_their_age;
    }
}
