//! Locks between storing and removing images: shared for storing, exclusive for removing.
//!
//! The index records which images are referenced. When an image is stored, its bytes come before
//! its index row; when it is removed, its bytes must go after the row. Between the last look into
//! the index and the removal of the bytes nobody may store the same image again: they would be told
//! that it is stored, and it would not be. So whoever stores holds a [`SharedGuard`] from before
//! the bytes exist until the index refers to them, and whoever removes holds an [`ExclusiveGuard`]
//! from before the last look into the index until the bytes are gone. A prefix has either any
//! number of shared guards or one exclusive guard, across all processes of an installation.

use std::fmt;

use heirloom_protocol::Fingerprint;

/// The first byte of fingerprints: the unit of locking. A lock per image would mean as many locks
/// as images; one lock for all would make every upload wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(u8);

impl Prefix {
    /// The number of prefixes.
    pub const COUNT: usize = 256;

    /// The prefix of an image.
    pub fn of(fingerprint: Fingerprint) -> Self {
        Self(fingerprint.as_bytes()[0])
    }

    /// The prefix with this byte.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The prefix as a byte.
    pub const fn byte(self) -> u8 {
        self.0
    }
}

/// Protects the images it was returned with from removal until it is dropped.
#[must_use = "without it the image may be removed before the index refers to it"]
pub struct SharedGuard {
    _lock: Box<dyn Send + Sync>,
}

impl SharedGuard {
    /// A guard that releases `lock` when it is dropped.
    pub(super) fn new(lock: impl Send + Sync + 'static) -> Self {
        Self {
            _lock: Box::new(lock),
        }
    }
}

/// Keeps everybody from storing images of a prefix until it is dropped.
#[must_use = "while it is held, stores of its prefix wait"]
pub struct ExclusiveGuard {
    prefix: Prefix,
    _lock: Box<dyn Send + Sync>,
}

impl ExclusiveGuard {
    /// A guard that releases `lock` when it is dropped.
    pub(super) fn new(prefix: Prefix, lock: impl Send + Sync + 'static) -> Self {
        Self {
            prefix,
            _lock: Box::new(lock),
        }
    }

    /// The locked prefix.
    pub const fn prefix(&self) -> Prefix {
        self.prefix
    }
}

impl fmt::Debug for SharedGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedGuard")
    }
}

impl fmt::Debug for ExclusiveGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExclusiveGuard({:02x})", self.prefix.0)
    }
}
