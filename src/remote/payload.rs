//! The payload of a request: bytes from several buffers, sent as one body.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes to send, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    segments: VecDeque<Bytes>,
    length: usize,
}

impl Payload {
    /// Appends bytes.
    pub fn push(&mut self, segment: Bytes) {
        self.length += segment.len();
        if !segment.is_empty() {
            self.segments.push_back(segment);
        }
    }

    /// Appends another payload.
    pub fn append(&mut self, other: Self) {
        self.length += other.length;
        self.segments.extend(other.segments);
    }

    /// The length in bytes.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, buffer by buffer.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(AsRef::as_ref)
    }

    /// Removes bytes from the front: at most `most`, and fewer where a buffer ends.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        let first = self.segments.front_mut()?;
        let taken = first.split_to(first.len().min(most));
        if first.is_empty() {
            self.segments.pop_front();
        }
        self.length -= taken.len();
        Some(taken)
    }
}

impl From<Bytes> for Payload {
    fn from(segment: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(segment);
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_taken_are_the_bytes_added() {
        let mut payload = Payload::from(b"fore".to_vec());
        payload.push(Bytes::new());
        payload.push(Bytes::from_static(b"noon"));
        assert_eq!(payload.len(), 8);
        let taken: Vec<Bytes> = std::iter::from_fn(|| payload.take(3)).collect();
        assert_eq!(taken, ["for", "e", "noo", "n"]);
        assert!(payload.is_empty());
    }
}
