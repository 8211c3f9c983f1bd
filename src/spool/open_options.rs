//! How a regular file is opened.

use rustix::fs::OFlags;

/// What an open file may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    ReadWrite,
}

/// When a write is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the page cache has it; `fsync` makes it durable.
    Lazy,
    /// When the disk has the bytes (`O_DSYNC`).
    Bytes,
    /// When the disk has the bytes and all metadata (`O_SYNC`).
    All,
}

/// Options for opening a regular file. Truncating and appending are not among them: the caller does
/// both, at a time and offset of its choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Access mode.
    pub access: Access,
    /// Durability of each write.
    pub durability: Durability,
}

impl Access {
    /// Whether bytes may be changed through it.
    pub fn can_write(self) -> bool {
        match self {
            Self::Read => false,
            Self::Write | Self::ReadWrite => true,
        }
    }
    /// Whether bytes may be read through it.
    pub fn can_read(self) -> bool {
        match self {
            Self::Write => false,
            Self::Read | Self::ReadWrite => true,
        }
    }
}

impl OpenOptions {
    pub(super) fn flags(self) -> OFlags {
        let access = match self.access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::WRONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let durability = match self.durability {
            Durability::Lazy => OFlags::empty(),
            // rustix means O_SYNC by both of its names.
            Durability::Bytes => OFlags::from_bits_retain(libc::O_DSYNC.cast_unsigned()),
            Durability::All => OFlags::SYNC,
        };
        access | durability
    }
}
