//! Small files that are private and either whole or unchanged after a crash.
//!
//! Everything here blocks on the disk. A created or replaced file has mode 0600 and is durable,
//! name included, when the call returns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The mode of a private file: its owner reads and writes, nobody else does either.
const PRIVATE_MODE: u32 = 0o600;

/// Replaces the file at `path` by `content`: after a crash either all of it is there or the old
/// file. A file that already holds exactly `content` in private is left alone, so that this
/// succeeds on a full disk.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    if is_private_with(path, content) {
        return Ok(());
    }
    let new = path.with_added_extension("new");
    // One left by a crash may have another mode; only a file we create is sure to have ours.
    remove_if_exists(&new)?;
    write_new(&new, content)?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Creates a private file with `content`; fails with `AlreadyExists` if the name is taken. A crash
/// may leave it shorter than `content`.
pub fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    write_new(path, content)?;
    sync_parent(path)
}

/// Removes a file; succeeds if there is none. Not synced: a crash may bring it back.
pub fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Syncs the directory that contains `path`, so that its name survives a power cut (fsync(2)).
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // The parent of a bare file name is the empty path.
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    File::open(parent)?.sync_all()
}

fn is_private_with(path: &Path, content: &[u8]) -> bool {
    let is_private = fs::metadata(path).is_ok_and(|found| found.mode() & 0o777 == PRIVATE_MODE);
    is_private && fs::read(path).is_ok_and(|found| found == content)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_MODE)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_replaced_file_is_private_whatever_stood_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login.json");
        fs::write(&path, "public").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        // What a crash left, readable by everybody.
        let leftover = folder.path().join("login.json.new");
        fs::write(&leftover, "torn").unwrap();
        fs::set_permissions(&leftover, fs::Permissions::from_mode(0o666)).unwrap();
        replace_private(&path, b"secret").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"secret".to_vec(), 0o600)
        );
        assert!(!leftover.exists());
    }

    #[test]
    fn the_same_content_with_another_mode_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace_private(&path, b"secret").unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        replace_private(&path, b"secret").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        replace_private(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }

    #[test]
    fn a_created_file_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_private(&path, b"first").unwrap();
        let error = create_private(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"first".to_vec(), 0o600)
        );
    }

    #[test]
    fn removing_what_is_not_there_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        remove_if_exists(&folder.path().join("nothing")).unwrap();
        assert!(
            remove_if_exists(folder.path()).is_err(),
            "a directory is no file"
        );
    }
}
