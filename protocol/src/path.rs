//! Paths in a user's library: validated once, here, and trusted after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where a photo stands in its user's library: names joined by `/`, relative to the mount.
///
/// UTF-8; no empty name, no `.` or `..`, no NUL, no name over 255 bytes, at most 4,095 bytes in
/// all. It never reaches a server's filesystem: there it is only a column.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LibraryPath(String);

/// Text that is no place in a library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, or nothing between two slashes; an absolute path begins with such a nothing.
    #[error("a library path is relative and has no empty name in it")]
    EmptyName,
    /// `.` or `..`.
    #[error("a library path has no '.' or '..' in it")]
    Dots,
    /// The byte that ends a string in C.
    #[error("a library path has no NUL in it")]
    Nul,
    /// What no Linux filesystem could hold (`limits.h`: `NAME_MAX`, `PATH_MAX`).
    #[error("a library path has at most 4095 bytes, each of its names at most 255")]
    TooLong,
}

impl LibraryPath {
    /// `NAME_MAX` of Linux, in bytes.
    pub const NAME_BYTES_MAX: usize = 255;
    /// `PATH_MAX` of Linux less the NUL, in bytes.
    pub const BYTES_MAX: usize = 4095;

    /// Checks and takes a path.
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

    /// The path of the folder it stands in; none at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Whether it is `place` itself, or something in that folder or in one below it.
    pub fn is_at_or_below(&self, place: &Self) -> bool {
        self.0
            .strip_prefix(&*place.0)
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
    fn ordinary_paths_are_taken_as_they_are() {
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
    fn the_longest_names_and_paths_fit_and_no_longer_ones() {
        let name = "n".repeat(255);
        let longest = [name.as_str(); 15].join("/") + "/" + &"m".repeat(255);
        assert_eq!(longest.len(), LibraryPath::BYTES_MAX);
        assert!(LibraryPath::new(longest.clone()).is_ok());
        assert_eq!(LibraryPath::new(longest + "m"), Err(PathError::TooLong));
        assert_eq!(LibraryPath::new(name + "n"), Err(PathError::TooLong));
    }

    #[test]
    fn a_path_knows_its_name_and_folder() {
        let path = LibraryPath::new("a/b/c.jpg").unwrap();
        assert_eq!(path.name(), "c.jpg");
        let parent = path.parent().unwrap();
        assert_eq!(parent.as_str(), "a/b");
        assert_eq!(parent.join("c.jpg"), Ok(path));
        assert_eq!(LibraryPath::new("top.jpg").unwrap().parent(), None);
        assert!(parent.join("..").is_err());
    }

    #[test]
    fn a_path_is_below_its_folders_and_no_namesake_of_theirs() {
        let path = |text: &str| LibraryPath::new(text).unwrap();
        for place in ["a/b.jpg", "a"] {
            assert!(path("a/b.jpg").is_at_or_below(&path(place)), "{place}");
        }
        for place in ["a/b", "b.jpg", "a/b.jpg/c", "a/b.jp"] {
            assert!(!path("a/b.jpg").is_at_or_below(&path(place)), "{place}");
        }
    }
}
