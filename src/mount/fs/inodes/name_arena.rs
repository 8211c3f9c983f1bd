//! Storage for a million file names in one string.
//!
//! A `String` for each would cost 24 bytes and an allocation on top of the twelve bytes of
//! `IMG_0001.JPG`.

/// Position and length of a name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NameRef {
    at: u32,
    bytes: u8,
}

/// Names, one after another. Removed names stay in between, until the others are copied to a new
/// arena.
#[derive(Debug, Default)]
pub(super) struct NameArena {
    names: String,
    wasted_bytes: usize,
}

/// Below this much waste a copy does not pay.
const WASTE_BYTES_MIN: usize = 64 * 1024;

impl NameArena {
    pub(super) fn add(&mut self, name: &str) -> NameRef {
        let at = u32::try_from(self.names.len())
            .expect("16 million of the longest names fit, and the kernel forgets before");
        self.names.push_str(name);
        NameRef {
            at,
            bytes: u8::try_from(name.len()).expect("a checked name has at most 255 bytes"),
        }
    }

    pub(super) fn get(&self, name: NameRef) -> &str {
        &self.names[name.at as usize..][..usize::from(name.bytes)]
    }

    pub(super) fn remove(&mut self, name: NameRef) {
        self.wasted_bytes += usize::from(name.bytes);
    }

    pub(super) fn is_mostly_waste(&self) -> bool {
        self.wasted_bytes > WASTE_BYTES_MIN && self.wasted_bytes > self.names.len() / 2
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.names.capacity()
    }
}
