//! Parcels: several small images in one request, whole (M5). A photo of a hundred kilobytes costs
//! more in questions, answers and waits for the disk than in bytes; together, many cost one of
//! each.
//!
//! The body is a packing list, as one line of JSON, and behind its line feed the images' bytes, one
//! after another, in the list's order:
//!
//! ```text
//! {"images":[{"fingerprint":"9f86...","size":4},{"fingerprint":"2c26...","size":3}]}
//! testfoo
//! ```
//!
//! There is no checksum of the whole: each image is held against its fingerprint.

use std::collections::HashSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::message::Receipt;

/// The media type of a parcel.
pub const PARCEL: &str = "application/vnd.heirloom.parcel";
/// Images in one parcel, at most: each is an open file of the server's while it makes them durable
/// together.
pub const IMAGES_MAX: usize = 64;
/// Bytes of all images in one parcel, at most. Both sides hold them in memory.
pub const BYTES_MAX: u64 = 4 << 20;
/// Bytes of the packing list, at most: an entry of the largest size has some 110.
pub const LIST_BYTES_MAX: usize = 16 << 10;

/// What is in a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackingList {
    /// The images, in the order of their bytes.
    pub images: Vec<Packed>,
}

/// One image in a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    /// Which image.
    pub fingerprint: Fingerprint,
    /// Its length in bytes.
    pub size: u64,
}

/// What became of one image of a parcel; the answer is a list of these, in the parcel's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Unpacked {
    /// Verified and durable.
    Stored {
        /// What the server vouches for.
        receipt: Receipt,
    },
    /// Its bytes do not have its fingerprint; nothing of it was stored.
    Damaged {
        /// The image that was announced.
        fingerprint: Fingerprint,
    },
}

/// Why a body is no parcel.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// No line feed where the list must have ended.
    #[error(
        "a parcel begins with a packing list of at most {LIST_BYTES_MAX} bytes and a line feed"
    )]
    NoList,
    /// The list is not JSON of our shape.
    #[error("read the packing list")]
    Malformed(#[source] serde_json::Error),
    /// More images than a parcel may have.
    #[error("{0} images, a parcel has at most {IMAGES_MAX}")]
    TooMany(usize),
    /// Nothing in it.
    #[error("a parcel has at least one image, and an image at least one byte")]
    Empty,
    /// An image stands twice in the list.
    #[error("{0} is packed twice")]
    Twice(Fingerprint),
    /// The list and the bytes do not fit together.
    #[error("the list has {listed} bytes of images, the parcel {found}")]
    WrongLength {
        /// As the list says.
        listed: u64,
        /// As there are.
        found: u64,
    },
}

impl PackingList {
    /// The first line of the parcel, its line feed included.
    pub fn line(&self) -> Vec<u8> {
        let mut line =
            serde_json::to_vec(self).expect("a packing list has only strings and numbers");
        line.push(b'\n');
        line
    }

    /// Opens a parcel: each image, and where in the body its bytes are.
    pub fn open(body: &[u8]) -> Result<Vec<(Fingerprint, Range<usize>)>, ParcelError> {
        let front = &body[..body.len().min(LIST_BYTES_MAX)];
        let end = front
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(ParcelError::NoList)?;
        let list: Self = serde_json::from_slice(&body[..end]).map_err(ParcelError::Malformed)?;
        list.check((body.len() - end - 1) as u64)?;
        let mut at = end + 1;
        let place = |packed: &Packed| {
            let start = at;
            // Cannot overflow: all sizes together are the rest of the body.
            at += usize::try_from(packed.size).unwrap_or(usize::MAX);
            (packed.fingerprint, start..at)
        };
        Ok(list.images.iter().map(place).collect())
    }

    fn check(&self, found: u64) -> Result<(), ParcelError> {
        if self.images.len() > IMAGES_MAX {
            return Err(ParcelError::TooMany(self.images.len()));
        }
        if self.images.is_empty() || self.images.iter().any(|packed| packed.size == 0) {
            return Err(ParcelError::Empty);
        }
        let mut seen = HashSet::new();
        if let Some(twice) = self
            .images
            .iter()
            .find(|packed| !seen.insert(packed.fingerprint))
        {
            return Err(ParcelError::Twice(twice.fingerprint));
        }
        let listed = self
            .images
            .iter()
            .fold(0, |sum: u64, packed| sum.saturating_add(packed.size));
        if listed == found {
            Ok(())
        } else {
            Err(ParcelError::WrongLength { listed, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parcel(images: &[&[u8]]) -> Vec<u8> {
        let packed = |bytes: &&[u8]| Packed {
            fingerprint: Fingerprint::of(bytes),
            size: bytes.len() as u64,
        };
        let list = PackingList {
            images: images.iter().map(packed).collect(),
        };
        [list.line(), images.concat()].concat()
    }

    #[test]
    fn a_list_of_the_largest_parcel_fits_its_limit() {
        let images = (0..IMAGES_MAX).map(|number| Packed {
            fingerprint: Fingerprint::of(&[u8::try_from(number).unwrap()]),
            size: BYTES_MAX,
        });
        assert!(
            PackingList {
                images: images.collect()
            }
            .line()
            .len()
                <= LIST_BYTES_MAX
        );
    }

    #[test]
    fn what_is_no_parcel_is_refused() {
        let whole = parcel(&[b"one", b"other"]);
        assert!(matches!(
            PackingList::open(&whole[..whole.len() - 1]),
            Err(ParcelError::WrongLength { .. })
        ));
        assert!(matches!(
            PackingList::open(&[&whole[..], b"x"].concat()),
            Err(ParcelError::WrongLength { .. })
        ));
        assert!(matches!(
            PackingList::open(&parcel(&[b"one", b"one"])),
            Err(ParcelError::Twice(_))
        ));
        assert!(matches!(
            PackingList::open(&parcel(&[])),
            Err(ParcelError::Empty)
        ));
        assert!(matches!(
            PackingList::open(&parcel(&[b""])),
            Err(ParcelError::Empty)
        ));
        assert!(matches!(PackingList::open(b""), Err(ParcelError::NoList)));
        assert!(matches!(
            PackingList::open(&vec![b'x'; LIST_BYTES_MAX + 1]),
            Err(ParcelError::NoList)
        ));
        assert!(matches!(
            PackingList::open(b"{\"images\":[],\"x\":1}\n"),
            Err(ParcelError::Malformed(_))
        ));
        let many: Vec<Vec<u8>> = (0..=IMAGES_MAX)
            .map(|number| vec![u8::try_from(number).unwrap()])
            .collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        assert!(matches!(
            PackingList::open(&parcel(&many)),
            Err(ParcelError::TooMany(65))
        ));
        let huge = format!(
            "{{\"images\":[{{\"fingerprint\":\"{}\",\"size\":{}}},{{\"fingerprint\":\"{}\",\"size\":2}}]}}\n",
            Fingerprint::of(b"a"),
            u64::MAX,
            Fingerprint::of(b"b")
        );
        assert!(matches!(
            PackingList::open(huge.as_bytes()),
            Err(ParcelError::WrongLength { .. })
        ));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_found_again(images in prop::collection::hash_set(prop::collection::vec(any::<u8>(), 1..50), 1..20)) {
            let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
            let body = parcel(&images);
            let opened = PackingList::open(&body).unwrap();
            let found: Vec<&[u8]> = opened.iter().map(|(_, place)| &body[place.clone()]).collect();
            prop_assert_eq!(found, images);
        }

        #[test]
        fn no_bytes_make_opening_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(PackingList::open(&body));
        }
    }
}
