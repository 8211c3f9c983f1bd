//! Paths of photos in a user's library. They are validated once, here, and trusted afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A photo's path in its user's library: names joined by `/`, relative to the mount.
///
/// UTF-8, at most 4,095 bytes; no name is empty, `.` or `..`, contains a NUL or has more than 255
/// bytes. A path never reaches the server's filesystem: there it is only a database column.
///
/// ```
/// use heirloom_protocol::LibraryPath;
/// use heirloom_protocol::path::PathError;
///
/// let path = LibraryPath::new("2026/summer/a.jpg")?;
/// assert_eq!(path.name(), "a.jpg");
/// assert!(path.is_at_or_below(&LibraryPath::new("2026")?));
/// assert_eq!(LibraryPath::new("../a.jpg"), Err(PathError::Dots));
/// # Ok::<(), PathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LibraryPath(String);

/// Why a text is not a library path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A name is empty: the path is empty or absolute, ends in a slash, or has two in a row.
    #[error("a library path must be relative and must not contain an empty name")]
    EmptyName,
    /// A name is `.` or `..`.
    #[error("a library path must not contain '.' or '..'")]
    Dots,
    /// A name contains a NUL byte.
    #[error("a library path must not contain a NUL byte")]
    Nul,
    /// Longer than Linux filesystems allow (`limits.h`: `NAME_MAX`, `PATH_MAX`).
    #[error("a library path may have at most 4095 bytes, and each name 255")]
    TooLong,
}

impl LibraryPath {
    /// Maximum length of a name in bytes: `NAME_MAX` of Linux.
    pub const NAME_BYTES_MAX: usize = 255;
    /// Maximum length of a path in bytes: `PATH_MAX` of Linux without the NUL.
    pub const BYTES_MAX: usize = 4095;

    /// Validates a path.
    pub fn new(text: impl Into<String>) -> Result<Self, PathError> {
        let text = text.into();
        if text.len() > Self::BYTES_MAX {
            return Err(PathError::TooLong);
        }
        for name in text.split('/') {
            match name {
                "" => return Err(PathError::EmptyName),
                "." | ".." => return Err(PathError::Dots),
                _ if name.contains('\0') => return Err(PathError::Nul),
                _ if name.len() > Self::NAME_BYTES_MAX => return Err(PathError::TooLong),
                _ => {}
            }
        }
        Ok(Self(text))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path of the parent folder; `None` at the top level.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Whether this path is `folder` itself or lies anywhere below it.
    pub fn is_at_or_below(&self, folder: &Self) -> bool {
        self.0
            .strip_prefix(&*folder.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path of `name` in this folder.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        Self::new(format!("{}/{name}", self.0))
    }
}

impl FromStr for LibraryPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl fmt::Display for LibraryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for LibraryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug escapes: a name with a newline or an escape sequence must not forge a log line.
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl Serialize for LibraryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LibraryPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_accepted_unchanged() {
        for path in [
            "a.jpg",
            "2024/Sommer/IMG 0001.JPG",
            "é/美.heic",
            ".hidden/x",
            "..a/b..",
            "a\nb",
            "con",
        ] {
            assert_eq!(
                LibraryPath::new(path).map(|it| it.to_string()),
                Ok(path.to_owned())
            );
        }
    }

    #[test]
    fn a_path_cannot_leave_the_library() {
        for (path, error) in [
            ("", PathError::EmptyName),
            ("/etc/passwd", PathError::EmptyName),
            ("a//b", PathError::EmptyName),
            ("a/", PathError::EmptyName),
            ("..", PathError::Dots),
            ("a/../b", PathError::Dots),
            ("./a", PathError::Dots),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(LibraryPath::new(path), Err(error), "{path:?}");
        }
    }

    #[test]
    fn names_and_paths_fit_up_to_their_limits() {
        let name = "n".repeat(255);
        let longest = [name.as_str(); 15].join("/") + "/" + &"m".repeat(255);
        assert_eq!(longest.len(), LibraryPath::BYTES_MAX);
        assert!(LibraryPath::new(longest.clone()).is_ok());
        assert_eq!(LibraryPath::new(longest + "m"), Err(PathError::TooLong));
        assert_eq!(LibraryPath::new(name + "n"), Err(PathError::TooLong));
    }

    #[test]
    fn a_path_has_a_name_and_a_parent() {
        let path = LibraryPath::new("a/b/c.jpg").unwrap();
        assert_eq!(path.name(), "c.jpg");
        let parent = path.parent().unwrap();
        assert_eq!(parent.as_str(), "a/b");
        assert_eq!(parent.join("c.jpg"), Ok(path));
        assert_eq!(LibraryPath::new("top.jpg").unwrap().parent(), None);
        assert!(parent.join("..").is_err());
    }

    #[test]
    fn a_path_is_below_its_folders_but_not_below_similar_names() {
        let path = |text: &str| LibraryPath::new(text).unwrap();
        for place in ["a/b.jpg", "a"] {
            assert!(path("a/b.jpg").is_at_or_below(&path(place)), "{place}");
        }
        for place in ["a/b", "b.jpg", "a/b.jpg/c", "a/b.jp"] {
            assert!(!path("a/b.jpg").is_at_or_below(&path(place)), "{place}");
        }
    }
}
