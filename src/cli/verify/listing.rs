//! What was listing: files, and those below folders, a few at a time. The tree itself is walked, so
//! that one photo of a very large library costs no more than one of a small one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use heirloom_protocol::LibraryPath;

/// What is left to look through.
#[derive(Debug)]
pub(super) struct FileLister {
    mountpoint: PathBuf,
    /// The last one is next.
    waiting: Vec<LibraryPath>,
}

impl FileLister {
    /// These, in a mount. An error if one is not there.
    pub(super) fn new(mountpoint: &Path, paths: Vec<LibraryPath>) -> io::Result<Self> {
        for path in &paths {
            fs::symlink_metadata(mountpoint.join(path.as_str()))?;
        }
        let waiting = paths.into_iter().rev().collect();
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            waiting,
        })
    }

    /// Up to so many of the files that are left; nothing at the end.
    pub(super) fn take(&mut self, most: usize) -> io::Result<Option<Vec<LibraryPath>>> {
        let mut files = Vec::new();
        while files.len() < most
            && let Some(path) = self.waiting.pop()
        {
            match fs::symlink_metadata(self.mountpoint.join(path.as_str())) {
                Ok(facts) if facts.is_dir() => self.look_into(&path)?,
                Ok(facts) if facts.is_file() => files.push(path),
                Ok(_) => {}
                // Removed since its folder was looked into.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(files).filter(|files| !files.is_empty()))
    }

    fn look_into(&mut self, folder: &LibraryPath) -> io::Result<()> {
        for entry in fs::read_dir(self.mountpoint.join(folder.as_str()))? {
            let name = entry?.file_name();
            // Nothing else stands in a mount.
            self.waiting
                .extend(name.to_str().and_then(|name| folder.join(name).ok()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_below_what_was_named_is_taken_once_and_no_other() {
        let mount = tempfile::tempdir().unwrap();
        let path = |text: &str| LibraryPath::new(text).unwrap();
        let mut expected = vec![path("one.jpg")];
        for folder in ["2025", "2025/deep/er", "2026"] {
            fs::create_dir_all(mount.path().join(folder)).unwrap();
            for number in 0..15 {
                let name = format!("{folder}/{number}.jpg");
                fs::write(mount.path().join(&name), "x").unwrap();
                expected.extend((folder != "2026").then(|| path(&name)));
            }
        }
        fs::write(mount.path().join("one.jpg"), "x").unwrap();
        std::os::unix::fs::symlink("../one.jpg", mount.path().join("2025/link.jpg")).unwrap();
        let mut listing =
            FileLister::new(mount.path(), vec![path("2025"), path("one.jpg")]).unwrap();
        let (mut taken, mut pages) = (Vec::new(), 0);
        while let Some(page) = listing.take(10).unwrap() {
            assert!((1..=10).contains(&page.len()));
            taken.extend(page);
            pages += 1;
        }
        taken.sort();
        expected.sort();
        assert_eq!((taken, pages), (expected, 4));
        assert!(FileLister::new(mount.path(), vec![path("gone.jpg")]).is_err());
    }
}
