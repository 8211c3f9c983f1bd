//! Directories and files that are nobody else's business.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ConfigError;

/// Makes a directory (and those above it) for us alone, if it is missing; refuses one that is
/// somebody else's, or that others may write.
pub(super) fn claim_directory(path: &Path) -> Result<(), ConfigError> {
    let creation = DirBuilder::new().recursive(true).mode(0o700).create(path);
    let meta = match (creation, fs::metadata(path)) {
        (Err(source), Err(_)) => return Err(failed("make the directory", path)(source)),
        (_, meta) => meta.map_err(failed("look at the directory", path))?,
    };
    if !meta.is_dir() {
        return Err(ConfigError::NotADirectory(path.to_owned()));
    }
    let (owner, you) = (meta.uid(), rustix::process::geteuid().as_raw());
    if owner != you {
        return Err(ConfigError::ForeignOwner {
            path: path.to_owned(),
            owner,
            you,
        });
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(ConfigError::Writable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Replaces a file by `content` as JSON, for our eyes only: either all of it is there after a
/// crash, or the old one.
pub(super) fn write_json(path: &Path, content: &impl Serialize) -> Result<(), ConfigError> {
    let text = serde_json::to_vec_pretty(content).map_err(|source| ConfigError::Content {
        path: path.to_owned(),
        source,
    })?;
    let aside = path.with_added_extension("new");
    // On a full disk it could not be written once more, and need not.
    if stands_there(path, &text) {
        return Ok(());
    }
    let written = write_new(&aside, &text)
        .and_then(|()| fs::rename(&aside, path))
        .and_then(|()| sync_folder(path));
    written.map_err(failed("write", path))
}

/// Reads what `write_json` wrote; none if there is no file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    let text = match fs::read(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", path))?,
    };
    let content = serde_json::from_slice(&text);
    content.map(Some).map_err(|source| ConfigError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Removes a file; fine if there is none.
pub(super) fn remove(path: &Path) -> Result<(), ConfigError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", path)(source))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn failed(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> ConfigError + use<> {
    let path: PathBuf = path.to_owned();
    move |source| ConfigError::Io {
        doing,
        path,
        source,
    }
}

fn stands_there(path: &Path, text: &[u8]) -> bool {
    let is_private = fs::metadata(path).is_ok_and(|found| found.mode() & 0o777 == 0o600);
    is_private && fs::read(path).is_ok_and(|found| found == text)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // One left by a crash may have another mode: `create_new` alone makes sure of ours.
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(source),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(folder)?.sync_all()
}
