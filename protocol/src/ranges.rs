//! Byte ranges, and sets of them. The interruption list says with them which parts of an image have
//! arrived.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A half-open range of byte offsets, `start..end`. Never empty.
///
/// ```
/// use heirloom_protocol::ByteRange;
///
/// let range = ByteRange::new(4096, 8192)?;
/// assert_eq!(range.len(), 4096);
/// assert_eq!(range, ByteRange::at(4096, 4096)?);
/// assert!(ByteRange::new(5, 5).is_err());
/// # Ok::<(), heirloom_protocol::ranges::RangeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

/// The error for a range that would be empty or end before it starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("empty or backward byte range: {start}..{end}")]
pub struct RangeError {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// The range `start..end`; an error if it is empty.
    pub const fn new(start: u64, end: u64) -> Result<Self, RangeError> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(RangeError { start, end })
        }
    }

    /// The range of `length` bytes from `start`, cut off at `u64::MAX`; an error if it is empty.
    pub const fn at(start: u64, length: u64) -> Result<Self, RangeError> {
        Self::new(start, start.saturating_add(length))
    }

    /// The offset of the first byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The offset after the last byte.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// The number of bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// The first `length` bytes of the range, at least one; the whole range if it is shorter.
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

/// A set of byte offsets, kept as the fewest possible ranges: ascending, and neither overlapping
/// nor adjacent.
///
/// On the wire: `[[0,4096],[8192,12288]]`, half-open ranges in any order.
///
/// ```
/// use heirloom_protocol::{ByteRange, RangeSet};
///
/// let mut received = RangeSet::new();
/// received.insert(ByteRange::new(0, 10)?);
/// received.insert(ByteRange::new(20, 30)?);
/// assert_eq!(received.byte_count(), 20);
/// assert_eq!(received.missing(30), RangeSet::from(ByteRange::new(10, 20)?));
/// received.insert(ByteRange::new(10, 20)?);
/// assert!(received.covers(30));
/// # Ok::<(), heirloom_protocol::ranges::RangeError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RangeSet(Vec<ByteRange>);

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The bytes `0..size`; the empty set for an empty image.
    pub fn whole(size: u64) -> Self {
        ByteRange::new(0, size).map_or_else(|_| Self::new(), Self::from)
    }

    /// Adds a range, which may overlap what the set already has.
    pub fn insert(&mut self, added: ByteRange) {
        // Ranges that overlap `added` or are adjacent to it are merged into it.
        let first = self.0.partition_point(|range| range.end < added.start);
        let behind = self.0.partition_point(|range| range.start <= added.end);
        let merged = self.0[first..behind]
            .iter()
            .fold(added, |sum, range| ByteRange {
                start: sum.start.min(range.start),
                end: sum.end.max(range.end),
            });
        self.0.splice(first..behind, [merged]);
    }

    /// Removes a range, of which the set may have any part or none.
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

    /// The difference: the bytes of this set that are not in `other`.
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

    /// Whether the set has every byte of `0..size`.
    pub fn covers(&self, size: u64) -> bool {
        self.missing(size).is_empty()
    }

    /// The number of bytes in the set.
    pub fn byte_count(&self) -> u64 {
        self.iter().map(ByteRange::len).sum()
    }

    /// The offset after the last byte; 0 for the empty set.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }

    /// Whether the set is empty.
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
        // Inserting one by one restores the invariant, whatever order or overlap was sent.
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
            "{set:?} is not kept as the fewest ranges"
        );
    }

    proptest! {
        #[test]
        fn a_set_agrees_with_a_bitmap(
            steps in prop::collection::vec((any::<bool>(), range()), 0..40),
            probe in range(),
        ) {
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
            let inside = (probe.start()..probe.end())
                .all(|byte| model[usize::try_from(byte).unwrap()]);
            prop_assert_eq!(set.contains(probe), inside);
            let inverted: Vec<bool> = model.iter().map(|bit| !bit).collect();
            prop_assert_eq!(bits(&set.missing(UNIVERSE)), inverted);
        }

        #[test]
        fn missing_and_present_together_are_the_whole(
            ranges in prop::collection::vec(range(), 0..20),
        ) {
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
    fn an_empty_or_backward_range_is_rejected() {
        assert!(ByteRange::new(5, 5).is_err());
        assert!(ByteRange::new(6, 5).is_err());
        assert!(ByteRange::at(u64::MAX, 1).is_err());
        assert!(serde_json::from_str::<RangeSet>("[[5,5]]").is_err());
        assert!(serde_json::from_str::<RangeSet>("[[-1,5]]").is_err());
    }

    #[test]
    fn an_empty_image_is_complete_from_the_start() {
        assert!(RangeSet::new().covers(0));
        assert!(!RangeSet::new().covers(1));
    }
}
