//! *The pin*: an attribute of a file or folder whose bytes its owner wants to keep on this disk.
//!
//! It lies on the file, like all that only the owner knows: whoever deletes the journal keeps the
//! pins.

use std::ffi::OsStr;
use std::io;

use heirloom_protocol::LibraryPath;
use rustix::io::Errno;

use super::{Spool, SpoolError, SpoolPath, remove_xattr, set_xattr, xattr};

/// The attribute. Its value is `1`, the version.
const NAME: &str = "user.heirloom.pin";
const VALUE: &[u8] = b"1";
/// Of the tree's top: something in it is pinned, or was. Whoever looks for pins looks here first.
const ANY: &str = "user.heirloom.pins";

impl Spool {
    /// Pins a file, or all that is and will be in a folder.
    pub fn set_pin(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        let failed = |source| SpoolError::at("pin", path, source);
        set_xattr(self.open_path(&SpoolPath::Root)?, OsStr::new(ANY), VALUE, 0).map_err(failed)?;
        let held = self.open_path(&SpoolPath::Entry(path.clone()))?;
        set_xattr(held, OsStr::new(NAME), VALUE, 0).map_err(failed)
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

    /// Takes the pin off again, if there is one on this very path.
    pub fn clear_pin(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        let held = self.open_path(&SpoolPath::Entry(path.clone()))?;
        match remove_xattr(held, OsStr::new(NAME)) {
            Err(error) if is_missing(&error) => Ok(()),
            other => other.map_err(|source| SpoolError::at("unpin", path, source)),
        }
    }

    /// Whether a file is pinned, or a folder that it is in.
    pub fn is_pinned(&self, path: &LibraryPath) -> Result<bool, SpoolError> {
        let mut place = SpoolPath::Entry(path.clone());
        while let SpoolPath::Entry(here) = &place {
            match xattr(self.open_path(&place)?, OsStr::new(NAME)) {
                Ok(_) => return Ok(true),
                Err(error) if is_missing(&error) => {}
                Err(source) => return Err(SpoolError::at("look for a pin on", here, source)),
            }
            place = SpoolPath::parent_of(here);
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
    fn a_pin_holds_for_all_that_is_below_it() {
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
