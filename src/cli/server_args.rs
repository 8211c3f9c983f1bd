//! Which server a command speaks to: one that is named, or that of a mount. The mount need not be
//! up.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::config::{Login, Mounts, ServerUrl, StateDir, Token, server_data_dir};
use crate::daemon::{ServerChoice, was_used};

/// A server and a token for it, as typed; or neither.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The server; without it, the one that the mount uses, whether it is up or not
    #[arg(long, value_name = "URL", requires = "token_file")]
    server: Option<ServerUrl>,
    /// A file whose first line is the token for the server
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Certificate authorities (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
}

impl ServerArgs {
    /// Whether a server is named.
    pub(super) const fn is_named(&self) -> bool {
        self.server.is_some()
    }

    /// The server that is named, or that of the mount at `mountpoint`, or of the only mount; where
    /// nothing was ever mounted, the one that a mount would start.
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
        // Whoever logged out of a server does not mean this one, unless it was used before.
        if !was_used(&embedded)? {
            bail!("no login is saved; name a server with --server URL --token-file FILE");
        }
        Ok(ServerChoice::Embedded(embedded))
    }
}

/// The state of a mount; none if there never was any.
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
            "name a server with --server URL --token-file FILE: {} mounts are known here",
            mounts.len()
        ),
    }
}
