//! The options that name a server, for commands that need no running mount.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::config::{Login, Mounts, ServerUrl, StateDir, Token, server_data_dir};
use crate::daemon::{ServerChoice, was_used};

/// The server to use and a token for it; or neither, for the server of a mount.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Use this server [default: the server of the mount, whether it is mounted or not]
    #[arg(long, value_name = "URL", requires = "token_file")]
    server: Option<ServerUrl>,
    /// Read the token for the server from the first line of this file
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
}

impl ServerArgs {
    /// Whether a server is named.
    pub(super) const fn is_named(&self) -> bool {
        self.server.is_some()
    }

    /// The server that is named; else that of the mount at `mountpoint`, or of the only mount. If
    /// nothing was ever mounted, the embedded server.
    pub(super) fn server(&self, mountpoint: Option<&Path>) -> anyhow::Result<ServerChoice> {
        if let (Some(server), Some(file)) = (self.server.clone(), &self.token_file) {
            let ca_file = self.ca_file.as_ref().map(std::path::absolute).transpose()?;
            return Ok(ServerChoice::Remote(Login {
                server,
                token: Token::read(file)?,
                ca_file,
            }));
        }
        let embedded = server_data_dir()?;
        let Some(state) = state_of(mountpoint)? else {
            return Ok(ServerChoice::Embedded(embedded));
        };
        if let Some(login) = StateDir::open(&state)?.saved_login()? {
            return Ok(ServerChoice::Remote(login));
        }
        // A person who logged out of a server does not expect the embedded one, unless it was used
        // before.
        if !was_used(&embedded)? {
            bail!(
                "not logged in; log in with `heirloom login`, or name a server with \
                 --server URL --token-file FILE"
            );
        }
        Ok(ServerChoice::Embedded(embedded))
    }
}

/// The state directory of the mount; `None` if nothing was ever mounted.
fn state_of(mountpoint: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let mounts = Mounts::open()?;
    if let Some(mountpoint) = mountpoint {
        let state = mounts.find(mountpoint)?;
        return state
            .map(Some)
            .with_context(|| format!("{} was never mounted", mountpoint.display()));
    }
    match mounts.all()?.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.state.clone())),
        mounts => bail!(
            "there are {} mounts; name a server with --server URL --token-file FILE",
            mounts.len()
        ),
    }
}
