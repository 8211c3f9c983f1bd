//! Image batches: several small images in one upload request.
//!
//! A photo of a hundred kilobytes costs more in requests, round trips and `fsync` calls than in
//! bytes. In one batch, many photos share one of each.
//!
//! The body is a header of one line of JSON, a line feed, and then the bytes of the images, one
//! after another, in the order of the header:
//!
//! ```text
//! {"images":[{"fingerprint":"9f86...","size":4},{"fingerprint":"2c26...","size":3}]}
//! testfoo
//! ```
//!
//! There is no checksum of the whole body: every image is verified against its own fingerprint.
//! On the wire a batch is called a *parcel* (`POST /v1/parcels`).
//!
//! ```
//! use heirloom_protocol::Fingerprint;
//! use heirloom_protocol::batch::{self, BatchEntry, BatchHeader};
//!
//! let images: [&[u8]; 2] = [b"test", b"foo"];
//! let header = BatchHeader {
//!     images: images
//!         .iter()
//!         .map(|image| BatchEntry {
//!             fingerprint: Fingerprint::of(image),
//!             size: image.len() as u64,
//!         })
//!         .collect(),
//! };
//! let body = [header.encode(), images.concat()].concat();
//!
//! let decoded = batch::decode(&body)?;
//! assert_eq!(decoded[1].0, Fingerprint::of(b"foo"));
//! assert_eq!(&body[decoded[1].1.clone()], b"foo");
//! # Ok::<(), batch::BatchError>(())
//! ```

use std::collections::HashSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::message::Receipt;

/// The media type of a batch.
pub const MEDIA_TYPE: &str = "application/vnd.heirloom.parcel";
/// Maximum number of images in one batch. The server keeps a file open for each of them while it
/// makes them durable together.
pub const IMAGES_MAX: usize = 64;
/// Maximum size of all images in one batch, in bytes. Both sides hold them in memory.
pub const BYTES_MAX: u64 = 4 << 20;
/// Maximum size of the header, in bytes, without its line feed. One entry takes at most 110 bytes.
pub const HEADER_BYTES_MAX: usize = 16 << 10;

/// The first line of a batch: which images follow, and how long each is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchHeader {
    /// The images, in the order of their bytes.
    pub images: Vec<BatchEntry>,
}

/// One image announced in a [`BatchHeader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchEntry {
    /// The image's fingerprint.
    pub fingerprint: Fingerprint,
    /// The image's length in bytes.
    pub size: u64,
}

/// The result for one image of a batch. The response is a list of these, in the order of the
/// header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BatchOutcome {
    /// The image is verified and durable.
    Stored {
        /// The server's receipt for it.
        receipt: Receipt,
    },
    /// The bytes do not match the fingerprint; none of them were stored.
    Damaged {
        /// The fingerprint that the header announced.
        fingerprint: Fingerprint,
    },
}

/// Why a body is not a valid batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// No line feed within the first [`HEADER_BYTES_MAX`] bytes.
    #[error("a batch must begin with a header of at most {HEADER_BYTES_MAX} bytes and a line feed")]
    NoHeader,
    /// The header is not JSON of the expected shape.
    #[error("cannot parse the header of the batch")]
    MalformedHeader(#[source] serde_json::Error),
    /// More than [`IMAGES_MAX`] images.
    #[error("the batch has {0} images; the limit is {IMAGES_MAX}")]
    TooMany(usize),
    /// No image at all, or an image of zero bytes.
    #[error("a batch needs at least one image, and every image at least one byte")]
    Empty,
    /// The header lists an image twice.
    #[error("the batch lists {0} twice")]
    Duplicate(Fingerprint),
    /// The sizes in the header do not add up to the bytes that follow it.
    #[error("the header announces {announced} bytes of images, but {found} follow")]
    WrongLength {
        /// Sum of the sizes in the header, in bytes.
        announced: u64,
        /// Bytes after the header.
        found: u64,
    },
}

/// Decodes a batch: each image, and the range of its bytes in `body`. The bytes themselves are not
/// verified here.
pub fn decode(body: &[u8]) -> Result<Vec<(Fingerprint, Range<usize>)>, BatchError> {
    let front = &body[..body.len().min(HEADER_BYTES_MAX)];
    let end = front
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(BatchError::NoHeader)?;
    let header: BatchHeader =
        serde_json::from_slice(&body[..end]).map_err(BatchError::MalformedHeader)?;
    header.check((body.len() - end - 1) as u64)?;
    let mut position = end + 1;
    let locate = |entry: &BatchEntry| {
        let start = position;
        // Cannot overflow: all sizes together are the rest of the body.
        position += usize::try_from(entry.size).unwrap_or(usize::MAX);
        (entry.fingerprint, start..position)
    };
    Ok(header.images.iter().map(locate).collect())
}

impl BatchHeader {
    /// The header as it is sent, including its line feed.
    pub fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a header has only strings and numbers");
        line.push(b'\n');
        line
    }

    /// Checks the header's limits, and that its sizes add up to the `found` bytes that follow it.
    fn check(&self, found: u64) -> Result<(), BatchError> {
        if self.images.len() > IMAGES_MAX {
            return Err(BatchError::TooMany(self.images.len()));
        }
        if self.images.is_empty() || self.images.iter().any(|entry| entry.size == 0) {
            return Err(BatchError::Empty);
        }
        let mut seen = HashSet::new();
        let mut entries = self.images.iter();
        if let Some(duplicate) = entries.find(|entry| !seen.insert(entry.fingerprint)) {
            return Err(BatchError::Duplicate(duplicate.fingerprint));
        }
        let announced = self
            .images
            .iter()
            .fold(0, |sum: u64, entry| sum.saturating_add(entry.size));
        if announced == found {
            Ok(())
        } else {
            Err(BatchError::WrongLength { announced, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body_of(images: &[&[u8]]) -> Vec<u8> {
        let entry = |bytes: &&[u8]| BatchEntry {
            fingerprint: Fingerprint::of(bytes),
            size: bytes.len() as u64,
        };
        let header = BatchHeader {
            images: images.iter().map(entry).collect(),
        };
        [header.encode(), images.concat()].concat()
    }

    #[test]
    fn the_header_of_the_largest_batch_fits_its_limit() {
        let images = (0..IMAGES_MAX).map(|number| BatchEntry {
            fingerprint: Fingerprint::of(&[u8::try_from(number).unwrap()]),
            size: BYTES_MAX,
        });
        assert!(
            BatchHeader {
                images: images.collect()
            }
            .encode()
            .len()
                <= HEADER_BYTES_MAX
        );
    }

    #[test]
    fn a_body_that_is_not_a_batch_is_refused() {
        let whole = body_of(&[b"one", b"other"]);
        assert!(matches!(
            decode(&whole[..whole.len() - 1]),
            Err(BatchError::WrongLength { .. })
        ));
        assert!(matches!(
            decode(&[&whole[..], b"x"].concat()),
            Err(BatchError::WrongLength { .. })
        ));
        assert!(matches!(
            decode(&body_of(&[b"one", b"one"])),
            Err(BatchError::Duplicate(_))
        ));
        assert!(matches!(decode(&body_of(&[])), Err(BatchError::Empty)));
        assert!(matches!(decode(&body_of(&[b""])), Err(BatchError::Empty)));
        assert!(matches!(decode(b""), Err(BatchError::NoHeader)));
        assert!(matches!(
            decode(&vec![b'x'; HEADER_BYTES_MAX + 1]),
            Err(BatchError::NoHeader)
        ));
        assert!(matches!(
            decode(b"{\"images\":[],\"x\":1}\n"),
            Err(BatchError::MalformedHeader(_))
        ));
        let many: Vec<Vec<u8>> = (0..=IMAGES_MAX)
            .map(|number| vec![u8::try_from(number).unwrap()])
            .collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        assert!(matches!(
            decode(&body_of(&many)),
            Err(BatchError::TooMany(65))
        ));
        let huge = format!(
            "{{\"images\":[{{\"fingerprint\":\"{}\",\"size\":{}}},\
             {{\"fingerprint\":\"{}\",\"size\":2}}]}}\n",
            Fingerprint::of(b"a"),
            u64::MAX,
            Fingerprint::of(b"b")
        );
        assert!(matches!(
            decode(huge.as_bytes()),
            Err(BatchError::WrongLength { .. })
        ));
    }

    proptest! {
        #[test]
        fn encoded_images_are_decoded_unchanged(
            images in prop::collection::hash_set(prop::collection::vec(any::<u8>(), 1..50), 1..20),
        ) {
            let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
            let body = body_of(&images);
            let decoded = decode(&body).unwrap();
            let found: Vec<&[u8]> = decoded
                .iter()
                .map(|(_, range)| &body[range.clone()])
                .collect();
            prop_assert_eq!(found, images);
        }

        #[test]
        fn no_bytes_make_decoding_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(decode(&body));
        }
    }
}
