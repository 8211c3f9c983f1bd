//! The registry of mounts: which state directory belongs to which mountpoint.
//!
//! One small file for each mountpoint, `$XDG_STATE_HOME/heirloom/.mounts/<mountpoint>.json`, so
//! that two processes never change the same one. The folder's name begins with a dot because no
//! state directory beside it does: a mountpoint's leading dot is escaped.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::private_file::{self, failed};
use super::{ConfigError, dirs};

/// The version of the files that this program writes.
const VERSION: u32 = 1;

/// The registry, open.
#[derive(Clone, Debug)]
pub struct Mounts {
    folder: PathBuf,
}

/// A mountpoint that was mounted, and may still be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Absolute, without symbolic links.
    pub mountpoint: PathBuf,
    /// Its state directory.
    pub state: PathBuf,
}

/// One file of the registry.
#[derive(Serialize, Deserialize)]
struct StoredMount {
    version: u32,
    mountpoint: String,
    state: String,
}

impl Mounts {
    /// This user's registry; made if it is missing.
    pub fn open() -> Result<Self, ConfigError> {
        Self::at(dirs::state_home()?.join(".mounts"))
    }

    fn at(folder: PathBuf) -> Result<Self, ConfigError> {
        private_file::claim_directory(&folder)?;
        Ok(Self { folder })
    }

    /// This mountpoint's state is there from now on.
    pub fn record(&self, mountpoint: &Path, state: &Path) -> Result<(), ConfigError> {
        let mountpoint = dirs::resolve(mountpoint)?;
        let stored = StoredMount {
            version: VERSION,
            mountpoint: text(&mountpoint)?,
            state: text(state)?,
        };
        private_file::write_json(&self.file(&mountpoint), &stored)
    }

    /// This mountpoint is not mounted any more. Fine if it was not known.
    pub fn forget(&self, mountpoint: &Path) -> Result<(), ConfigError> {
        private_file::remove(&self.file(&dirs::resolve(mountpoint)?))
    }

    /// The state directory that was recorded for this mountpoint.
    pub fn find(&self, mountpoint: &Path) -> Result<Option<PathBuf>, ConfigError> {
        Ok(read(&self.file(&dirs::resolve(mountpoint)?))?.map(|entry| entry.state))
    }

    /// Every mountpoint recorded, in the order of their names.
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
                // One that cannot be read must not hide the others.
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "passing over a mount"
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
    fn a_mount_is_found_by_every_spelling_of_its_mountpoint_until_it_is_forgotten() {
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
    fn an_entry_of_a_newer_program_is_not_guessed_at() {
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
