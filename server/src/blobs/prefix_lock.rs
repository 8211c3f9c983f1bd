//! What it takes to remove an image while others store and link: a word to say "this one stays",
//! and a word to say "nobody stores here now".
//!
//! The index says which images are referred to; the bytes come before the index when an image is
//! stored, and must go after it when it is removed. Between looking into the index and removing the
//! bytes nobody may store the same image again: they would be told that it is there, and it would
//! not be. So whoever stores holds a [`SharedGuard`] from before the bytes stand until the index refers to
//! them, and whoever removes holds a [`ExclusiveGuard`] from before the last look into the index until
//! the bytes are gone. Of one section there is either any number of the first or one of the second,
//! in all processes of an installation.

use std::fmt;

use heirloom_protocol::Fingerprint;

/// The images whose fingerprints begin with the same byte: what is secluded at a time. One lock for
/// each image would be as many as there are images; one for all would make every upload wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(u8);

impl Prefix {
    /// How many there are.
    pub const COUNT: usize = 256;

    /// That of an image.
    pub fn of(fingerprint: Fingerprint) -> Self {
        Self(fingerprint.as_bytes()[0])
    }

    /// The one that begins with this byte.
    pub const fn of_byte(first: u8) -> Self {
        Self(first)
    }

    /// The byte.
    pub const fn first_byte(self) -> u8 {
        self.0
    }
}

/// An image that stands, whatever the index says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Which: as it is named, not hashed.
    pub fingerprint: Fingerprint,
    /// Since when it stands where it does, in milliseconds since the epoch by the storage's clock.
    pub since_ms: i64,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedStats {
    /// Images of which there was anything.
    pub images: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// As long as it is held, the images that it was given out with are not removed.
#[must_use = "what was stored may be removed before the index refers to it"]
pub struct SharedGuard {
    _kept: Box<dyn Send + Sync>,
}

impl SharedGuard {
    /// What ends when `kept` is dropped.
    pub(super) fn new(kept: impl Send + Sync + 'static) -> Self {
        Self {
            _kept: Box::new(kept),
        }
    }
}

/// As long as it is held, nobody stores an image of its section.
#[must_use = "it keeps everybody else waiting"]
pub struct ExclusiveGuard {
    section: Prefix,
    _alone: Box<dyn Send + Sync>,
}

impl ExclusiveGuard {
    /// What ends when `alone` is dropped.
    pub(super) fn new(section: Prefix, alone: impl Send + Sync + 'static) -> Self {
        Self {
            section,
            _alone: Box::new(alone),
        }
    }

    /// Of what.
    pub const fn section(&self) -> Prefix {
        self.section
    }
}

impl fmt::Debug for SharedGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedGuard")
    }
}

impl fmt::Debug for ExclusiveGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExclusiveGuard({:02x})", self.section.0)
    }
}
