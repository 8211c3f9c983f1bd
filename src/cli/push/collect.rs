//! Collects the photos to upload from the paths on the command line, with their library paths.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use heirloom_protocol::LibraryPath;

use crate::config::Accept;
use crate::intake;

/// A photo on the local disk.
#[derive(Clone, Debug)]
pub(super) struct LocalPhoto {
    pub(super) path: PathBuf,
    pub(super) library_path: LibraryPath,
    /// In bytes, when it was collected.
    pub(super) size: u64,
}

/// The files at the paths on the command line.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) photos: Vec<LocalPhoto>,
    /// The size of all photos.
    pub(super) bytes: u64,
    /// Files that are not backed up, and why.
    pub(super) skipped: Vec<(PathBuf, String)>,
}

/// Collects photos: a file `a/b.jpg` gets the library path `b.jpg`, a folder `a/b` gets `b/...`
/// with everything in it. Fails if a named path does not exist; skips symbolic links in folders.
pub(super) fn collect(paths: &[PathBuf], accept: Accept) -> anyhow::Result<Collected> {
    let mut collected = Collected::default();
    for path in paths {
        let named = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        let Some(name) = named.file_name().and_then(|name| name.to_str()) else {
            bail!(
                "{} has no file name, or one that is not UTF-8",
                path.display()
            );
        };
        collected.add(&named, LibraryPath::new(name)?, accept)?;
    }
    Ok(collected)
}

impl Collected {
    fn add(
        &mut self,
        path: &Path,
        library_path: LibraryPath,
        accept: Accept,
    ) -> anyhow::Result<()> {
        let unreadable = || format!("cannot read {}", path.display());
        let metadata = fs::symlink_metadata(path).with_context(unreadable)?;
        if metadata.is_dir() {
            for entry in fs::read_dir(path).with_context(unreadable)? {
                let entry = entry.with_context(unreadable)?;
                let name = entry.file_name();
                match name.to_str().map(|name| library_path.join(name)) {
                    Some(Ok(library_path)) => self.add(&entry.path(), library_path, accept)?,
                    _ => self.skip(&entry.path(), "a library cannot hold its name"),
                }
            }
        } else if !metadata.is_file() {
            self.skip(path, "not a regular file");
        } else if let Some(why) = intake::skip_reason(
            accept,
            &library_path,
            &read_head(path).with_context(unreadable)?,
        ) {
            self.skip(path, &why);
        } else {
            self.bytes += metadata.len();
            self.photos.push(LocalPhoto {
                path: path.to_owned(),
                library_path,
                size: metadata.len(),
            });
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.skipped.push((path.to_owned(), why.to_owned()));
    }
}

/// The first bytes of a file, from which its format is recognised.
fn read_head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?
        .take(intake::HEAD_BYTES as u64)
        .read_to_end(&mut head)?;
    Ok(head)
}
