//! Pins: an extended attribute of a file or folder whose bytes its owner wants to keep on this
//! disk.
//!
//! It is stored on the file, like everything that only the owner can know: deleting the journal
//! loses no pins.

use std::ffi::OsStr;
use std::io;

use heirloom_protocol::LibraryPath;
use rustix::io::Errno;

use super::Spool;
use super::attributes::{remove_xattr, set_xattr, xattr};
use super::error::SpoolError;
use super::path::SpoolPath;

/// Name of the attribute. Its value is `1`, the version.
const NAME: &str = "user.heirloom.pin";
const VALUE: &[u8] = b"1";
/// Attribute of the root directory: something in the tree is pinned, or was. Lookups of pins check
/// it first.
const ANY: &str = "user.heirloom.pins";

impl Spool {
    /// Pins a file, or a folder with everything that is or will be in it.
    pub fn set_pin(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        let failed = |source| SpoolError::at("pin", path, source);
        set_xattr(self.open_path(&SpoolPath::Root)?, OsStr::new(ANY), VALUE, 0).map_err(failed)?;
        let file = self.open_path(&SpoolPath::Entry(path.clone()))?;
        set_xattr(file, OsStr::new(NAME), VALUE, 0).map_err(failed)
    }

    /// Whether anything was ever pinned.
    pub fn has_pins(&self) -> Result<bool, SpoolError> {
        match xattr(self.open_path(&SpoolPath::Root)?, OsStr::new(ANY)) {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(source) => Err(SpoolError::within(
                "look for pins on",
                &SpoolPath::Root,
                source,
            )),
        }
    }

    /// Removes the pin on exactly this path, if there is one.
    pub fn clear_pin(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        let file = self.open_path(&SpoolPath::Entry(path.clone()))?;
        match remove_xattr(file, OsStr::new(NAME)) {
            Err(error) if is_missing(&error) => Ok(()),
            other => other.map_err(|source| SpoolError::at("unpin", path, source)),
        }
    }

    /// Whether a file, or a folder above it, is pinned.
    pub fn is_pinned(&self, path: &LibraryPath) -> Result<bool, SpoolError> {
        let mut current = SpoolPath::Entry(path.clone());
        while let SpoolPath::Entry(here) = &current {
            match xattr(self.open_path(&current)?, OsStr::new(NAME)) {
                Ok(_) => return Ok(true),
                Err(error) if is_missing(&error) => {}
                Err(source) => return Err(SpoolError::at("look for a pin on", here, source)),
            }
            current = SpoolPath::parent_of(here);
        }
        Ok(false)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NODATA | Errno::NOTSUP)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_applies_to_everything_below_it() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let path = |text: &str| LibraryPath::new(text).unwrap();
        std::fs::create_dir_all(spool.root().join("a/b")).unwrap();
        for file in ["a/b/photo.jpg", "a/other.jpg", "photo.jpg"] {
            std::fs::write(spool.root().join(file), "photo").unwrap();
        }
        let pinned = || {
            ["a/b/photo.jpg", "a/other.jpg", "photo.jpg"]
                .map(|file| spool.is_pinned(&path(file)).unwrap())
        };
        assert_eq!(pinned(), [false, false, false]);
        assert!(!spool.has_pins().unwrap());
        spool.set_pin(&path("a/b")).unwrap();
        spool.set_pin(&path("photo.jpg")).unwrap();
        assert_eq!(pinned(), [true, false, true]);
        assert!(spool.has_pins().unwrap());
        spool.clear_pin(&path("a/b/photo.jpg")).unwrap();
        assert_eq!(
            pinned(),
            [true, false, true],
            "it is the folder that is pinned"
        );
        spool.clear_pin(&path("a/b")).unwrap();
        spool.clear_pin(&path("a/b")).unwrap();
        assert_eq!(pinned(), [false, false, true]);
    }
}
