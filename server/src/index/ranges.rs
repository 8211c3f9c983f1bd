//! The stored form of a set of byte ranges.
//!
//! Version 1: the byte 1, then for each range two numbers in LEB128 (seven bits to a byte, the
//! lowest first, the high bit set on all but the last): the gap since the end of the range before,
//! and the length. An image that arrives in order is one range, so that its entry is some five
//! bytes.

use heirloom_protocol::{ByteRange, RangeSet};

use super::error::IndexError;

/// Ranges in one entry, at most. Reached only by somebody who sends every second byte; shards in
/// any order stay far below it. Keeps an entry under 1 MiB.
pub(super) const RANGES_MAX: usize = 1 << 16;

const VERSION: u8 = 1;

/// The bytes for a set; `TooScattered` if it has too many ranges.
pub(super) fn encode(set: &RangeSet) -> Result<Vec<u8>, IndexError> {
    let mut bytes = vec![VERSION];
    let mut end = 0;
    for (index, range) in set.iter().enumerate() {
        if index == RANGES_MAX {
            return Err(IndexError::TooScattered { max: RANGES_MAX });
        }
        write_number(&mut bytes, range.start() - end);
        write_number(&mut bytes, range.len());
        end = range.end();
    }
    Ok(bytes)
}

/// The set that the bytes stand for.
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
        let start = end.checked_add(read_number(&mut rest)?)?;
        end = start.checked_add(read_number(&mut rest)?)?;
        set.insert(ByteRange::new(start, end).ok()?);
    }
    Some(set)
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if part.leading_zeros() < shift && part != 0 {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Puts made-up bytes on trial as a stored set (see `tests/fuzz`).
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
    fn no_stored_set_is_misread() {
        heirloom_fuzz::replay("received", fuzz);
    }

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges
            .iter()
            .map(|&(start, end)| ByteRange::new(start, end).unwrap())
            .collect()
    }

    #[test]
    fn version_1_is_written_as_it_always_was() {
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
    fn damaged_entries_are_errors() {
        let damaged: &[&[u8]] = &[
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
        for bytes in damaged {
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
        fn a_set_survives_storage(ranges in prop::collection::vec((0_u64..1 << 34, 1_u64..1 << 24), 0..50)) {
            let set: RangeSet =
                ranges.into_iter().map(|(start, length)| ByteRange::at(start, length).unwrap()).collect();
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
