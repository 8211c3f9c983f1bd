//! The errors of this module.

use std::io;
use std::path::PathBuf;

use super::TokenError;

/// What can go wrong with configuration files and directories.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no home directory: neither `$HOME` nor the user database names one.
    #[error("cannot find your home directory; set HOME, or name a directory with --state")]
    Home(#[source] etcetera::HomeDirError),
    /// An operation on a file or directory failed.
    #[error("cannot {doing} {path:?}")]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The directory belongs to another user.
    #[error(
        "{path:?} belongs to user {owner}, not to you (user {you}); choose another directory with \
        --state"
    )]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// The user id of this process.
        you: u32,
    },
    /// Others can write to the directory, and so replace our files.
    #[error("{path:?} can be written by other users (mode {mode:03o}); run: chmod go-w {path:?}")]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path is not a directory.
    #[error("{0:?} is not a directory; choose another one with --state")]
    NotADirectory(PathBuf),
    /// Another process uses this state directory.
    #[error(
        "{path:?} is in use{}; unmount the directory that uses it first",
        holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
    )]
    InUse {
        /// The state directory.
        path: PathBuf,
        /// The other process's id, if it has written it already.
        holder: Option<u32>,
    },
    /// One of our files cannot be parsed.
    #[error("cannot parse {path:?}; delete it, then log in or mount again")]
    Content {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// One of our files was written by a newer version of this program.
    #[error("{path:?} has version {version}, written by a newer heirloom; use that one")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        version: u32,
    },
    /// A token file does not hold a token.
    #[error("cannot use the token in {path:?}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenError,
    },
    /// The path cannot be stored, since paths are stored as UTF-8 text.
    #[error("the path {0:?} is not UTF-8; use another one")]
    NotText(PathBuf),
}
