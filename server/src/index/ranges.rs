//! The stored form of a set of byte ranges.
//!
//! Version 1: the byte 1, then for each range two numbers in LEB128: the gap since the end of the
//! previous range, and the length. An image that arrives in order is one range, and its entry takes
//! about five bytes.

use heirloom_protocol::{ByteRange, RangeSet};
use heirloom_support::leb128;

use super::error::IndexError;

/// The most ranges in one entry. Only a sender of every second byte reaches it; shards in any order
/// stay far below. Keeps an entry under 1 MiB.
pub(super) const RANGES_MAX: usize = 1 << 16;

const VERSION: u8 = 1;

/// Encodes a set; `TooScattered` if it has too many ranges.
pub(super) fn encode(set: &RangeSet) -> Result<Vec<u8>, IndexError> {
    let mut bytes = vec![VERSION];
    let mut end = 0;
    for (index, range) in set.iter().enumerate() {
        if index == RANGES_MAX {
            return Err(IndexError::TooScattered { max: RANGES_MAX });
        }
        leb128::write(&mut bytes, range.start() - end);
        leb128::write(&mut bytes, range.len());
        end = range.end();
    }
    Ok(bytes)
}

/// Decodes a stored set.
pub(super) fn decode(bytes: &[u8]) -> Result<RangeSet, IndexError> {
    parse(bytes).ok_or(IndexError::Corrupt("interruption list entry"))
}

fn parse(bytes: &[u8]) -> Option<RangeSet> {
    let (&VERSION, mut rest) = bytes.split_first()? else {
        return None;
    };
    let mut set = RangeSet::new();
    let mut end = 0_u64;
    while !rest.is_empty() {
        let start = end.checked_add(leb128::read(&mut rest)?)?;
        end = start.checked_add(leb128::read(&mut rest)?)?;
        set.insert(ByteRange::new(start, end).ok()?);
    }
    Some(set)
}

/// Decodes arbitrary bytes as a stored set and checks the round trip (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    let Ok(set) = decode(bytes) else { return };
    if let Ok(again) = encode(&set) {
        assert_eq!(decode(&again).expect("what was written is read"), set);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arbitrary_bytes_are_never_decoded_as_another_set() {
        heirloom_fuzz::replay("interruption_lists", fuzz);
    }

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges
            .iter()
            .map(|&(start, end)| ByteRange::new(start, end).unwrap())
            .collect()
    }

    #[test]
    fn the_stored_form_of_version_1_never_changes() {
        type Ranges = &'static [(u64, u64)];
        let golden: &[(Ranges, &[u8])] = &[
            (&[], &[1]),
            (&[(0, 1)], &[1, 0, 1]),
            (&[(0, 300)], &[1, 0, 0xac, 0x02]),
            (&[(5, 10), (138, 139)], &[1, 5, 5, 0x80, 0x01, 1]),
            (
                &[(1, u64::MAX)],
                &[
                    1, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ],
            ),
        ];
        for (ranges, bytes) in golden {
            assert_eq!(encode(&set(ranges)).unwrap(), *bytes, "{ranges:?}");
            assert_eq!(decode(bytes).unwrap(), set(ranges), "{ranges:?}");
        }
    }

    #[test]
    fn corrupt_entries_are_errors() {
        let corrupt: &[&[u8]] = &[
            &[],
            &[0],
            &[2, 0, 1],
            &[1, 0],
            &[1, 0, 0],
            &[1, 0x80],
            &[
                1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
            ],
            &[
                1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 1,
            ],
            &[
                1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ];
        for bytes in corrupt {
            assert!(
                matches!(decode(bytes), Err(IndexError::Corrupt(_))),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn an_entry_does_not_grow_without_bound() {
        let mut scattered: RangeSet = (0..RANGES_MAX as u64)
            .map(|byte| ByteRange::at(2 * byte, 1).unwrap())
            .collect();
        assert!(encode(&scattered).is_ok());
        scattered.insert(ByteRange::at(2 * RANGES_MAX as u64, 1).unwrap());
        assert!(matches!(
            encode(&scattered),
            Err(IndexError::TooScattered { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_set_survives_storage(
            ranges in prop::collection::vec((0_u64..1 << 34, 1_u64..1 << 24), 0..50),
        ) {
            let set: RangeSet =
                ranges
                    .into_iter()
                    .map(|(start, length)| ByteRange::at(start, length).unwrap())
                    .collect();
            prop_assert_eq!(decode(&encode(&set).unwrap()).unwrap(), set);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(set) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&set).unwrap()).unwrap(), set);
            }
        }
    }
}
