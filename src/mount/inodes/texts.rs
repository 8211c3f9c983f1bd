//! Texts: a million file names in one string.
//!
//! A `String` for each would cost 24 bytes and an allocation on top of the twelve bytes of
//! `IMG_0001.JPG`.

/// Where a name begins and how long it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Text {
    at: u32,
    bytes: u8,
}

/// Names, one after another; those dropped stay in between until somebody packs the rest into a new
/// one.
#[derive(Debug, Default)]
pub(super) struct Texts {
    all: String,
    wasted: usize,
}

/// Waste below this is not worth a copy.
const WASTE_BYTES_MIN: usize = 64 * 1024;

impl Texts {
    pub(super) fn add(&mut self, name: &str) -> Text {
        let at = u32::try_from(self.all.len())
            .expect("16 million of the longest names fit, and the kernel forgets before");
        self.all.push_str(name);
        Text {
            at,
            bytes: u8::try_from(name.len()).expect("a checked name has at most 255 bytes"),
        }
    }

    pub(super) fn get(&self, text: Text) -> &str {
        &self.all[text.at as usize..][..usize::from(text.bytes)]
    }

    pub(super) fn drop(&mut self, text: Text) {
        self.wasted += usize::from(text.bytes);
    }

    pub(super) fn is_mostly_waste(&self) -> bool {
        self.wasted > WASTE_BYTES_MIN && self.wasted > self.all.len() / 2
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.all.capacity()
    }
}
