//! The user's directories (XDG Base Directory Specification) and Heirloom's own in them.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use etcetera::base_strategy::Xdg;
use heirloom_protocol::Fingerprint;

use super::error::ConfigError;

/// The name of our folder in each of them.
const FOLDER: &str = "heirloom";
/// Longest name made from a path, in bytes: `NAME_MAX` (255) less space for suffixes such as
/// `.json.new`.
const NAME_BYTES_MAX: usize = 240;

/// The embedded server's data directory: `$XDG_DATA_HOME/heirloom/server`.
pub fn server_data_dir() -> Result<PathBuf, ConfigError> {
    Ok(xdg()?.data_dir().join(FOLDER).join("server"))
}

/// `$XDG_STATE_HOME/heirloom`.
pub(super) fn state_home() -> Result<PathBuf, ConfigError> {
    let state = xdg()?
        .state_dir()
        .expect("the XDG strategy always has a state directory");
    Ok(state.join(FOLDER))
}

/// `$XDG_RUNTIME_DIR`, if this session has one.
pub(super) fn runtime_home() -> Option<PathBuf> {
    xdg().ok()?.runtime_dir()
}

fn xdg() -> Result<Xdg, ConfigError> {
    Xdg::new().map_err(ConfigError::Home)
}

/// The canonical path of a mountpoint: absolute, without symbolic links and dots.
///
/// A mountpoint whose daemon has crashed cannot be resolved itself; its parent directory still can.
pub(super) fn resolve(mountpoint: &Path) -> Result<PathBuf, ConfigError> {
    let failed = |source| ConfigError::Io {
        doing: "find",
        path: mountpoint.to_owned(),
        source,
    };
    if let Ok(resolved) = mountpoint.canonicalize() {
        return Ok(resolved);
    }
    let absolute = std::path::absolute(mountpoint).map_err(failed)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute);
    };
    Ok(parent.canonicalize().map_err(failed)?.join(name))
}

/// A path as a file name, escaped like `systemd-escape --path` does: `/home/a/My Cloud` is
/// `home-a-My\x20Cloud`.
///
/// Two paths never get the same name. A name that would be too long ends in the path's SHA-256.
pub(super) fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let mut name = String::new();
    for &byte in bytes.strip_prefix(b"/").unwrap_or(bytes) {
        match byte {
            b'/' => name.push('-'),
            b'.' if name.is_empty() => name.push_str("\\x2e"),
            b':' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => name.push(byte.into()),
            _ => write!(name, "\\x{byte:02x}").expect("writing to a string cannot fail"),
        }
    }
    if name.is_empty() {
        name.push('-');
    }
    if name.len() > NAME_BYTES_MAX {
        let hash = Fingerprint::of(bytes).to_string();
        name.truncate(NAME_BYTES_MAX - hash.len() - 1);
        name = format!("{name}-{hash}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_like_systemd_does() {
        for (path, name) in [
            ("/home/a/Cloud", "home-a-Cloud"),
            ("/home/a/My Cloud", r"home-a-My\x20Cloud"),
            ("/home/a-b", r"home-a\x2db"),
            ("/.hidden/.x", r"\x2ehidden-.x"),
            ("/é", r"\xc3\xa9"),
            ("/", "-"),
        ] {
            assert_eq!(escaped(Path::new(path)), name);
        }
    }

    #[test]
    fn long_paths_get_different_names() {
        let [one, other] =
            ["a", "b"].map(|end| escaped(Path::new(&format!("/{}{end}", "ü".repeat(200)))));
        assert_eq!(one.len(), NAME_BYTES_MAX);
        assert_ne!(one, other);
    }

    #[test]
    fn a_missing_mountpoint_has_one_canonical_path() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(resolve(&link.join("gone")).unwrap(), real.join("gone"));
        assert!(resolve(&real.join("no/where")).is_err());
        assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
    }
}
