//! The registry of mounts: which state directory belongs to which mountpoint.
//!
//! Each mountpoint has a small file of its own,
//! `$XDG_STATE_HOME/heirloom/.mounts/<mountpoint>.json`, so that two processes never write the same. The folder's name begins with a dot because that
//! of a state directory next to it never does: the leading dot of a mountpoint is escaped.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dirs;
use super::error::ConfigError;
use super::private_file::{self, failed};

/// The version of the files that this program writes.
const VERSION: u32 = 1;

/// The registry of mounts.
#[derive(Clone, Debug)]
pub struct Mounts {
    folder: PathBuf,
}

/// A directory that was mounted once and may still be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// The canonical path of the mountpoint.
    pub mountpoint: PathBuf,
    /// The state directory of the mount.
    pub state: PathBuf,
}

/// The content of one file of the registry.
#[derive(Serialize, Deserialize)]
struct StoredMount {
    version: u32,
    mountpoint: String,
    state: String,
}

impl Mounts {
    /// Opens the registry of this user; creates it if it is missing.
    pub fn open() -> Result<Self, ConfigError> {
        Self::at(dirs::state_home()?.join(".mounts"))
    }

    fn at(folder: PathBuf) -> Result<Self, ConfigError> {
        private_file::claim_directory(&folder)?;
        Ok(Self { folder })
    }

    /// Records the state directory of a mountpoint.
    pub fn record(&self, mountpoint: &Path, state: &Path) -> Result<(), ConfigError> {
        let mountpoint = dirs::resolve(mountpoint)?;
        let stored = StoredMount {
            version: VERSION,
            mountpoint: text(&mountpoint)?,
            state: text(state)?,
        };
        private_file::write_json(&self.file(&mountpoint), &stored)
    }

    /// Removes a mountpoint from the registry; succeeds if it is not there.
    pub fn forget(&self, mountpoint: &Path) -> Result<(), ConfigError> {
        private_file::remove(&self.file(&dirs::resolve(mountpoint)?))
    }

    /// The state directory of a mountpoint; `None` if it was never mounted.
    pub fn find(&self, mountpoint: &Path) -> Result<Option<PathBuf>, ConfigError> {
        Ok(read(&self.file(&dirs::resolve(mountpoint)?))?.map(|entry| entry.state))
    }

    /// Every recorded mount, sorted by mountpoint. A file that cannot be read is skipped and
    /// logged.
    pub fn all(&self) -> Result<Vec<MountEntry>, ConfigError> {
        let listed = fs::read_dir(&self.folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut found = Vec::new();
        for file in listed.map_err(failed("list the mounts in", &self.folder))? {
            let path = file.path();
            if path.extension() != Some(OsStr::new("json")) {
                continue;
            }
            match read(&path) {
                Ok(entry) => found.extend(entry),
                // A damaged file must not hide the others.
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "skipping a mount whose file cannot be read"
                ),
            }
        }
        found.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
        Ok(found)
    }

    fn file(&self, resolved: &Path) -> PathBuf {
        self.folder
            .join(dirs::escaped(resolved))
            .with_added_extension("json")
    }
}

fn read(path: &Path) -> Result<Option<MountEntry>, ConfigError> {
    let Some(stored) = private_file::read_json::<StoredMount>(path)? else {
        return Ok(None);
    };
    if stored.version != VERSION {
        return Err(ConfigError::Version {
            path: path.to_owned(),
            version: stored.version,
        });
    }
    Ok(Some(MountEntry {
        mountpoint: stored.mountpoint.into(),
        state: stored.state.into(),
    }))
}

fn text(path: &Path) -> Result<String, ConfigError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| ConfigError::NotText(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_every_path_to_its_mountpoint() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let mounts = Mounts::at(home.join("mounts")).unwrap();
        let [cloud, other, link] = ["My Cloud", "Other", "link"].map(|name| home.join(name));
        fs::create_dir(&cloud).unwrap();
        std::os::unix::fs::symlink(&cloud, &link).unwrap();

        mounts.record(&cloud, Path::new("/state/cloud")).unwrap();
        mounts.record(&other, Path::new("/state/other")).unwrap();
        for spelling in [
            &cloud,
            &link,
            &home.join("My Cloud/"),
            &home.join("My Cloud/../My Cloud"),
        ] {
            assert_eq!(
                mounts.find(spelling).unwrap(),
                Some("/state/cloud".into()),
                "{spelling:?}"
            );
        }
        let entry = |mountpoint: &Path, state: &str| MountEntry {
            mountpoint: mountpoint.into(),
            state: state.into(),
        };
        fs::write(home.join("mounts/broken.json"), "{").unwrap();
        assert_eq!(
            mounts.all().unwrap(),
            [entry(&cloud, "/state/cloud"), entry(&other, "/state/other")]
        );

        mounts.forget(&link).unwrap();
        mounts.forget(&link).unwrap();
        assert_eq!(mounts.find(&cloud).unwrap(), None);
    }

    #[test]
    fn a_file_of_a_newer_version_is_rejected() {
        let home = tempfile::tempdir().unwrap();
        let mounts = Mounts::at(home.path().join("mounts")).unwrap();
        let file = mounts.file(&dirs::resolve(home.path()).unwrap());
        fs::write(
            &file,
            r#"{"version":2,"mountpoint":"/a","state":"/b","more":1}"#,
        )
        .unwrap();
        assert!(matches!(
            mounts.find(home.path()),
            Err(ConfigError::Version { version: 2, .. })
        ));
    }
}
