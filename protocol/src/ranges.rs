//! Byte ranges, and sets of them: what a shard list and an interruption list are made of (M6).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The bytes from `start` up to, but not including, `end`. Never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

/// Two numbers between which there is no byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a byte range ends after it starts: {start}..{end}")]
pub struct RangeError {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// The bytes `start..end`.
    pub const fn new(start: u64, end: u64) -> Result<Self, RangeError> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(RangeError { start, end })
        }
    }

    /// `length` bytes from `start`; an error if that is none, or past `u64::MAX`.
    pub const fn at(start: u64, length: u64) -> Result<Self, RangeError> {
        Self::new(start, start.saturating_add(length))
    }

    /// The offset of the first byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The offset behind the last byte.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// How many bytes: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Its first `length` bytes (at least one), or all of it where it has fewer.
    #[must_use]
    pub fn first(self, length: u64) -> Self {
        Self {
            start: self.start,
            end: self.end.min(self.start.saturating_add(length.max(1))),
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{}", self.start, self.end)
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for ByteRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.start, self.end).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ByteRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (start, end) = Deserialize::deserialize(deserializer)?;
        Self::new(start, end).map_err(de::Error::custom)
    }
}

/// A set of bytes, kept as the fewest ranges: ascending, apart, never touching.
///
/// On the wire: `[[0,4096],[8192,12288]]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RangeSet(Vec<ByteRange>);

impl RangeSet {
    /// The set without a byte.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The bytes `0..size`; the empty set for an empty image.
    pub fn whole(size: u64) -> Self {
        ByteRange::new(0, size).map_or_else(|_| Self::new(), Self::from)
    }

    /// Adds a range. What was there already stays.
    pub fn insert(&mut self, added: ByteRange) {
        // Ranges that touch or overlap `added` melt into it.
        let first = self.0.partition_point(|range| range.end < added.start);
        let behind = self.0.partition_point(|range| range.start <= added.end);
        let melted = self.0[first..behind]
            .iter()
            .fold(added, |sum, range| ByteRange {
                start: sum.start.min(range.start),
                end: sum.end.max(range.end),
            });
        self.0.splice(first..behind, [melted]);
    }

    /// Takes a range out. What was not there stays away.
    pub fn remove(&mut self, removed: ByteRange) {
        let first = self.0.partition_point(|range| range.end <= removed.start);
        let behind = self.0.partition_point(|range| range.start < removed.end);
        let left = self.0[first..behind]
            .first()
            .and_then(|range| ByteRange::new(range.start, removed.start).ok());
        let right = self.0[first..behind]
            .last()
            .and_then(|range| ByteRange::new(removed.end, range.end).ok());
        self.0.splice(first..behind, left.into_iter().chain(right));
    }

    /// This set without the bytes of `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        other.iter().for_each(|range| rest.remove(range));
        rest
    }

    /// The bytes of `0..size` that are not in this set.
    #[must_use]
    pub fn missing(&self, size: u64) -> Self {
        Self::whole(size).without(self)
    }

    /// Whether every byte of `range` is in the set.
    pub fn contains(&self, range: ByteRange) -> bool {
        let index = self.0.partition_point(|held| held.end < range.end);
        self.0
            .get(index)
            .is_some_and(|held| held.start <= range.start && range.end <= held.end)
    }

    /// Whether the set is all of an image of `size` bytes.
    pub fn covers(&self, size: u64) -> bool {
        self.missing(size).is_empty()
    }

    /// How many bytes are in the set.
    pub fn byte_count(&self) -> u64 {
        self.iter().map(ByteRange::len).sum()
    }

    /// The offset behind the last byte; 0 for the empty set.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }

    /// Whether no byte is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ByteRange> + '_ {
        self.0.iter().copied()
    }
}

impl From<ByteRange> for RangeSet {
    fn from(range: ByteRange) -> Self {
        Self(vec![range])
    }
}

impl FromIterator<ByteRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = ByteRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(&self.0).finish()
    }
}

impl Serialize for RangeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RangeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whatever order or overlap the sender chose, our invariant holds afterwards.
        Ok(Vec::<ByteRange>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Small enough that a bitmap of it is the obvious model.
    const UNIVERSE: u64 = 96;

    fn range() -> impl Strategy<Value = ByteRange> {
        (0..UNIVERSE, 1..UNIVERSE).prop_map(|(start, length)| {
            ByteRange::new(start, (start + length).min(UNIVERSE))
                .expect("start is below the universe's end")
        })
    }

    fn bits(set: &RangeSet) -> Vec<bool> {
        (0..UNIVERSE)
            .map(|byte| {
                set.iter()
                    .any(|range| (range.start()..range.end()).contains(&byte))
            })
            .collect()
    }

    fn assert_canonical(set: &RangeSet) {
        assert!(
            set.0.windows(2).all(|pair| pair[0].end < pair[1].start),
            "{set:?} is not in its fewest ranges"
        );
    }

    proptest! {
        #[test]
        fn a_set_agrees_with_a_bitmap(steps in prop::collection::vec((any::<bool>(), range()), 0..40), probe in range()) {
            let mut set = RangeSet::new();
            let mut model = vec![false; usize::try_from(UNIVERSE).unwrap()];
            for (insert, range) in steps {
                if insert { set.insert(range) } else { set.remove(range) }
                for byte in range.start()..range.end() {
                    model[usize::try_from(byte).unwrap()] = insert;
                }
                assert_canonical(&set);
                prop_assert_eq!(bits(&set), model.clone());
            }
            let count = model.iter().filter(|bit| **bit).count() as u64;
            prop_assert_eq!(set.byte_count(), count);
            prop_assert_eq!(set.covers(UNIVERSE), count == UNIVERSE);
            let inside = (probe.start()..probe.end()).all(|byte| model[usize::try_from(byte).unwrap()]);
            prop_assert_eq!(set.contains(probe), inside);
            let inverted: Vec<bool> = model.iter().map(|bit| !bit).collect();
            prop_assert_eq!(bits(&set.missing(UNIVERSE)), inverted);
        }

        #[test]
        fn missing_and_present_together_are_the_whole(ranges in prop::collection::vec(range(), 0..20)) {
            let set: RangeSet = ranges.into_iter().collect();
            let mut both = set.missing(UNIVERSE);
            set.iter().for_each(|range| both.insert(range));
            prop_assert_eq!(both, RangeSet::whole(UNIVERSE));
        }

        #[test]
        fn a_set_survives_the_wire(ranges in prop::collection::vec(range(), 0..20)) {
            let set: RangeSet = ranges.into_iter().collect();
            let text = serde_json::to_string(&set).unwrap();
            prop_assert_eq!(serde_json::from_str::<RangeSet>(&text).unwrap(), set);
        }
    }

    #[test]
    fn an_empty_or_backward_range_is_refused() {
        assert!(ByteRange::new(5, 5).is_err());
        assert!(ByteRange::new(6, 5).is_err());
        assert!(ByteRange::at(u64::MAX, 1).is_err());
        assert!(serde_json::from_str::<RangeSet>("[[5,5]]").is_err());
        assert!(serde_json::from_str::<RangeSet>("[[-1,5]]").is_err());
    }

    #[test]
    fn an_empty_image_is_whole_from_the_start() {
        assert!(RangeSet::new().covers(0));
        assert!(!RangeSet::new().covers(1));
    }
}
