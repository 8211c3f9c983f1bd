//! Which server a command speaks to: one that is named, or that of a mount. The mount need not be up.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::config::{Login, Mounts, ServerUrl, StateDir, Token, data_home};

/// A server and a token for it, as typed; or neither.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// The server; without it, the one that the mount uses
    #[arg(long, value_name = "URL", requires = "token_file")]
    server: Option<ServerUrl>,
    /// A file whose first line is the token for the server
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Certificate authorities (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
}

impl Access {
    /// Whether a server is named.
    pub(super) const fn is_named(&self) -> bool {
        self.server.is_some()
    }

    /// The login to the server that is named, or to that of the mount at `mountpoint`, or of the only mount.
    pub(super) fn login(&self, mountpoint: Option<&Path>) -> anyhow::Result<Login> {
        if let (Some(server), Some(file)) = (self.server.clone(), &self.token_file) {
            let ca_file = self.ca_file.as_ref().map(std::path::absolute).transpose()?;
            return Ok(Login { server, token: Token::read(file)?, ca_file });
        }
        let saved = match StateDir::open(&state_of(mountpoint)?)?.saved_login()? {
            Some(login) => Some(login),
            // The embedded server's: good while the mount it belongs to is up.
            None => StateDir::open(&data_home()?.join("client"))?.saved_login()?,
        };
        saved.context("no login is saved; name a server with --server URL --token-file FILE")
    }
}

fn state_of(mountpoint: Option<&Path>) -> anyhow::Result<PathBuf> {
    let mounts = Mounts::open()?;
    if let Some(mountpoint) = mountpoint {
        return mounts.find(mountpoint)?.with_context(|| format!("{} was never mounted", mountpoint.display()));
    }
    match mounts.all()?.as_slice() {
        [only] => Ok(only.state.clone()),
        mounts => bail!("name a server with --server URL --token-file FILE: {} mounts are known here", mounts.len()),
    }
}
