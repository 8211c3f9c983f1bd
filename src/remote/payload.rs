//! The payload of a request: bytes that lie in several places and are sent as one.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes to send, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Payload {
    /// Adds bytes at the end.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Adds another payload at the end.
    pub fn append(&mut self, other: Self) {
        self.length += other.length;
        self.pieces.extend(other.pieces);
    }

    /// So many bytes are left.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is nothing left.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, place by place.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(AsRef::as_ref)
    }

    /// Takes bytes from the front: at most so many, and fewer where a place ends.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        let piece = first.split_to(first.len().min(most));
        if first.is_empty() {
            self.pieces.pop_front();
        }
        self.length -= piece.len();
        Some(piece)
    }
}

impl From<Bytes> for Payload {
    fn from(piece: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(piece);
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
    fn what_is_taken_is_what_was_put_in() {
        let mut payload = Payload::from(b"fore".to_vec());
        payload.push(Bytes::new());
        payload.push(Bytes::from_static(b"noon"));
        assert_eq!(payload.len(), 8);
        let taken: Vec<Bytes> = std::iter::from_fn(|| payload.take(3)).collect();
        assert_eq!(taken, ["for", "e", "noo", "n"]);
        assert!(payload.is_empty());
    }
}
