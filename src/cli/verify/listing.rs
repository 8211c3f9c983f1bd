//! Lists the files at and below named paths, one page at a time.
//!
//! It reads the directory tree and not the journal, so that verifying one photo costs the same in a
//! small and in a very large library.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use heirloom_protocol::LibraryPath;

/// A depth-first listing of the files at and below some paths.
#[derive(Debug)]
pub(super) struct FileLister {
    mountpoint: PathBuf,
    /// Paths still to visit; the last one is next.
    stack: Vec<LibraryPath>,
}

impl FileLister {
    /// A listing of these paths in a mount. Fails if one of them does not exist.
    pub(super) fn new(mountpoint: &Path, paths: Vec<LibraryPath>) -> io::Result<Self> {
        for path in &paths {
            fs::symlink_metadata(mountpoint.join(path.as_str()))?;
        }
        let stack = paths.into_iter().rev().collect();
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            stack,
        })
    }

    /// The next files, at most `limit` of them; `None` at the end.
    pub(super) fn next_page(&mut self, limit: usize) -> io::Result<Option<Vec<LibraryPath>>> {
        let mut files = Vec::new();
        while files.len() < limit
            && let Some(path) = self.stack.pop()
        {
            match fs::symlink_metadata(self.mountpoint.join(path.as_str())) {
                Ok(metadata) if metadata.is_dir() => self.push_entries(&path)?,
                Ok(metadata) if metadata.is_file() => files.push(path),
                Ok(_) => {}
                // Removed since its folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(files).filter(|files| !files.is_empty()))
    }

    fn push_entries(&mut self, folder: &LibraryPath) -> io::Result<()> {
        for entry in fs::read_dir(self.mountpoint.join(folder.as_str()))? {
            let name = entry?.file_name();
            // A mount holds only names that a library path can hold.
            self.stack
                .extend(name.to_str().and_then(|name| folder.join(name).ok()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_below_the_named_paths_is_listed_once_and_no_other() {
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
        let mut lister =
            FileLister::new(mount.path(), vec![path("2025"), path("one.jpg")]).unwrap();
        let (mut listed, mut pages) = (Vec::new(), 0);
        while let Some(page) = lister.next_page(10).unwrap() {
            assert!((1..=10).contains(&page.len()));
            listed.extend(page);
            pages += 1;
        }
        listed.sort();
        expected.sort();
        assert_eq!((listed, pages), (expected, 4));
        assert!(FileLister::new(mount.path(), vec![path("gone.jpg")]).is_err());
    }
}
