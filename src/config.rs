//! Where things are, and what the person decided.
//!
//! Everything of one mount lies in one directory, its state directory: spool, journal, log, control
//! socket, login. Which directory that is follows from the mountpoint, or was said with `--state`;
//! the registry of mounts remembers it, so that `heirloom status ~/Cloud` finds the process that
//! serves it.

mod dirs;
mod login;
mod known_keys;
mod mounts;
mod private_file;
mod state;

use std::io;
use std::path::PathBuf;

pub use dirs::server_data_dir;
#[cfg(any(test, fuzzing))]
pub use login::trial as addresses_trial;
pub use login::{Login, ServerUrl, ServerUrlError, Token, TokenError};
pub use mounts::{MountEntry, Mounts};
pub use state::{StateDir, StateLock};

/// Which files are backed up; the rest stays local.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Accept {
    /// Photos: everything whose first bytes are those of an image.
    #[default]
    Images,
    /// Photos, videos, and the small files that belong to them (.xmp, .aae, .json).
    Media,
    /// Everything.
    All,
}

/// What can go wrong with what the person decided, or with where things are.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No home directory: neither `$HOME` nor the user database has one.
    #[error("find the home directory; set HOME, or say where with --state")]
    Home(#[source] etcetera::HomeDirError),
    /// A step with a file or directory failed.
    #[error("{doing} {path:?}")]
    Io {
        /// The step.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory that must be ours belongs to somebody else.
    #[error(
        "{path:?} belongs to user {owner}, not to you ({you}); choose another directory with --state"
    )]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is, as user id.
        owner: u32,
        /// Who asks, as user id.
        you: u32,
    },
    /// A directory that must be ours alone can be written by others, who could put their files in
    /// place of ours.
    #[error("{path:?} can be written by others (mode {mode:03o}); run: chmod go-w {path:?}")]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something that is not a directory stands where one is needed.
    #[error("{0:?} is not a directory; choose another with --state")]
    NotADirectory(PathBuf),
    /// Another process works in this state directory.
    #[error("{path:?} is in use{}; unmount that one first", holder.map_or_else(String::new, |pid| format!(" by process {pid}")))]
    InUse {
        /// The state directory.
        path: PathBuf,
        /// The process, if it has said so already.
        holder: Option<u32>,
    },
    /// A file of ours does not say what we wrote.
    #[error("{path:?} cannot be understood; remove it and say again what it held")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of ours was written by a newer program.
    #[error("{path:?} has version {version}, which this heirloom does not know; use the newer one")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it says.
        version: u32,
    },
    /// What stands in a token file is no token.
    #[error("read the token in {path:?}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenError,
    },
    /// Paths are kept as text.
    #[error("the path {0:?} is not UTF-8; use another")]
    NotText(PathBuf),
}
