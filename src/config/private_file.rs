//! Private directories, and JSON files in them that are replaced as a whole.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use heirloom_support::file;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ConfigError;

/// Mode of a directory created here: only its owner may enter it.
const DIRECTORY_MODE: u32 = 0o700;
/// Permission bits that let the group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Creates a directory, and those above it, with mode 0700 if it is missing. Refuses a directory
/// that belongs to another user or that others can write to.
pub(super) fn claim_directory(path: &Path) -> Result<(), ConfigError> {
    let creation = DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path);
    let metadata = match (creation, fs::metadata(path)) {
        (Err(source), Err(_)) => return Err(failed("create the directory", path)(source)),
        (_, metadata) => metadata.map_err(failed("read the attributes of", path))?,
    };
    if !metadata.is_dir() {
        return Err(ConfigError::NotADirectory(path.to_owned()));
    }
    let (owner, you) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != you {
        return Err(ConfigError::ForeignOwner {
            path: path.to_owned(),
            owner,
            you,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(ConfigError::Writable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Replaces a file by `content` as JSON, with mode 0600. After a crash, the file holds either the
/// new content or the old.
pub(super) fn write_json(path: &Path, content: &impl Serialize) -> Result<(), ConfigError> {
    let text = serde_json::to_vec_pretty(content).map_err(|source| ConfigError::Content {
        path: path.to_owned(),
        source,
    })?;
    file::replace_private(path, &text).map_err(failed("write", path))
}

/// Reads a JSON file; `None` if it does not exist.
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

/// Removes a file; succeeds if it does not exist.
pub(super) fn remove(path: &Path) -> Result<(), ConfigError> {
    file::remove_if_exists(path).map_err(failed("remove", path))
}

/// Turns an I/O error into a [`ConfigError::Io`] for the step `doing` on `path`.
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
