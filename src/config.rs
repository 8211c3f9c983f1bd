//! Configuration: where the files of a mount are, and what the user chose.
//!
//! Everything of one mount is in one directory, its state directory: spool, journal, log, control
//! socket, login. Its path follows from the mountpoint or is given with `--state`; the registry of
//! mounts remembers it, so that `heirloom status ~/Cloud` finds the daemon.
//!
//! The modules, from the top layer down; a module names only modules below it:

mod known_keys;
mod state;
mod mounts;
mod login;
mod private_file;
mod dirs;
mod error;

pub use dirs::server_data_dir;
pub use error::ConfigError;
#[cfg(any(test, fuzzing))]
pub use login::fuzz as fuzz_addresses;
pub use login::{Login, ServerUrl, ServerUrlError, Token, TokenError};
pub use mounts::{MountEntry, Mounts};
pub use state::{StateDir, StateLock};

/// Which files are backed up; the others stay on this disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Accept {
    /// Photos: every file whose first bytes are those of an image
    #[default]
    Images,
    /// Photos, videos and their small companion files (.xmp, .aae, .json)
    Media,
    /// Every file
    All,
}
