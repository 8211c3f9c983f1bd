//! The user's directories, by the XDG Base Directory Specification, and what ours are called in
//! them.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use etcetera::base_strategy::Xdg;
use heirloom_protocol::Fingerprint;

use super::ConfigError;

/// Our folder in each of them.
const OURS: &str = "heirloom";
/// Longest name made of a path, in bytes: `NAME_MAX` (255) less room for endings such as
/// `.json.new`.
const NAME_BYTES_MAX: usize = 240;

/// Where the embedded server keeps its data: `$XDG_DATA_HOME/heirloom/server`.
pub fn server_data_dir() -> Result<PathBuf, ConfigError> {
    Ok(xdg()?.data_dir().join(OURS).join("server"))
}

/// `$XDG_STATE_HOME/heirloom`.
pub(super) fn state_home() -> Result<PathBuf, ConfigError> {
    let state = xdg()?
        .state_dir()
        .expect("the XDG strategy always has a state directory");
    Ok(state.join(OURS))
}

/// `$XDG_RUNTIME_DIR`, if this session has one.
pub(super) fn runtime_home() -> Option<PathBuf> {
    xdg().ok()?.runtime_dir()
}

fn xdg() -> Result<Xdg, ConfigError> {
    Xdg::new().map_err(ConfigError::Home)
}

/// One spelling for one mountpoint: absolute, without symbolic links and dots.
///
/// A mountpoint whose process has died cannot be looked at; its folder still can.
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
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute);
    };
    Ok(folder.canonicalize().map_err(failed)?.join(name))
}

/// A path as a file name, as `systemd-escape --path` would spell it: `/home/a/My Cloud` is
/// `home-a-My\x20Cloud`.
///
/// Two paths never have the same name. A name that would be too long ends in the path's SHA-256.
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
        let whole = Fingerprint::of(bytes).to_string();
        name.truncate(NAME_BYTES_MAX - whole.len() - 1);
        name = format!("{name}-{whole}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_spelled_as_systemd_spells_it() {
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
    fn a_long_path_keeps_a_name_of_its_own() {
        let [one, other] =
            ["a", "b"].map(|end| escaped(Path::new(&format!("/{}{end}", "ü".repeat(200)))));
        assert_eq!(one.len(), NAME_BYTES_MAX);
        assert_ne!(one, other);
    }

    #[test]
    fn a_mountpoint_that_is_not_there_still_has_one_spelling() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(resolve(&link.join("gone")).unwrap(), real.join("gone"));
        assert!(resolve(&real.join("no/where")).is_err());
        assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
    }
}
