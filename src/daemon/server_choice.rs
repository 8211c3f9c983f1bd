//! Which server a mount or a command uses.

use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Login, StateDir};

/// Precedes the embedded server's address in `status`.
pub(super) const EMBEDDED_NAME_PREFIX: &str = "embedded, ";

/// The server that keeps the photos.
#[derive(Debug)]
pub enum ServerChoice {
    /// A separate server.
    Remote(Login),
    /// The embedded server, which runs in this process with its data in this directory.
    Embedded(PathBuf),
}

/// Whether the embedded server with its data in this directory was ever started.
pub fn was_used(data: &Path) -> Result<bool, ConfigError> {
    Ok(token_dir(data)?.saved_login()?.is_some())
}

/// The directory with the embedded server's token: inside its data directory, with the same
/// permissions.
pub(super) fn token_dir(data: &Path) -> Result<StateDir, ConfigError> {
    StateDir::open(&data.join("client"))
}
