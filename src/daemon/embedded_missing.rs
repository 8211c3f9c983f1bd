//! Stands in for the embedded server in a build without the feature `embedded`.

use std::path::Path;

use crate::config::{ConfigError, Login};

/// The embedded server, which this build does not have: no value of this type exists.
#[derive(Debug)]
pub(super) enum EmbeddedServer {}

/// Why the embedded server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// This build has none.
    #[error(
        "this build of heirloom has no embedded server; log in to a server with `heirloom login`"
    )]
    NotBuilt,
    /// Its token cannot be read.
    #[error("cannot read its token")]
    Token(#[from] ConfigError),
}

impl EmbeddedServer {
    #[expect(
        clippy::unused_async,
        reason = "called like the embedded server that other builds have"
    )]
    pub(super) async fn start(_data: &Path) -> Result<(Self, Login), EmbeddedError> {
        Err(EmbeddedError::NotBuilt)
    }

    #[expect(
        clippy::unused_async,
        reason = "called like the embedded server that other builds have"
    )]
    pub(super) async fn stop(self) {
        match self {}
    }
}
