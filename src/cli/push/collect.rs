//! Gathering: which files a person means, and what they will be called in the library.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use heirloom_protocol::LibraryPath;

use crate::config::Accept;
use crate::intake;

/// A photo on the local disk, and its place in the library.
#[derive(Clone, Debug)]
pub(super) struct LocalPhoto {
    pub(super) path: PathBuf,
    pub(super) place: LibraryPath,
    /// In bytes, as it was when it was gathered.
    pub(super) size: u64,
}

/// What the person's paths came to.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) photos: Vec<LocalPhoto>,
    /// Of the photos, in all.
    pub(super) bytes: u64,
    /// Files that are not backed up, and why.
    pub(super) left_out: Vec<(PathBuf, String)>,
}

/// A file `a/b.jpg` becomes `b.jpg`; a folder `a/b` becomes `b/...` with all that is in it.
/// A path that was named and is not there is an error; symbolic links inside folders are left out.
pub(super) fn collect(paths: &[PathBuf], accept: Accept) -> anyhow::Result<Collected> {
    let mut found = Collected::default();
    for path in paths {
        let named = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        let Some(name) = named.file_name().and_then(|name| name.to_str()) else {
            bail!("{} has no name that a library can hold", path.display());
        };
        found.take(&named, LibraryPath::new(name)?, accept)?;
    }
    Ok(found)
}

impl Collected {
    fn take(&mut self, path: &Path, place: LibraryPath, accept: Accept) -> anyhow::Result<()> {
        let unreadable = || format!("cannot read {}", path.display());
        let facts = fs::symlink_metadata(path).with_context(unreadable)?;
        if facts.is_dir() {
            for entry in fs::read_dir(path).with_context(unreadable)? {
                let entry = entry.with_context(unreadable)?;
                match entry.file_name().to_str().map(|name| place.join(name)) {
                    Some(Ok(place)) => self.take(&entry.path(), place, accept)?,
                    _ => self.leave_out(&entry.path(), "its name cannot stand in a library"),
                }
            }
        } else if !facts.is_file() {
            self.leave_out(path, "not an ordinary file");
        } else if let Some(why) =
            intake::skip_reason(accept, &place, &head(path).with_context(unreadable)?)
        {
            self.leave_out(path, &why);
        } else {
            self.bytes += facts.len();
            self.photos.push(LocalPhoto {
                path: path.to_owned(),
                place,
                size: facts.len(),
            });
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.left_out.push((path.to_owned(), why.to_owned()));
    }
}

/// The first bytes, by which an image is recognised.
fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?
        .take(intake::HEAD_BYTES as u64)
        .read_to_end(&mut head)?;
    Ok(head)
}
