//! `heirloom logout`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::client::block_on;
use super::login::state_of;
use crate::remote::Remote;

/// Log out: revoke this device's token and delete it here
///
/// The token is deleted here even if the server cannot be reached to revoke it.
#[derive(Debug, Args)]
pub(super) struct LogoutArgs {
    /// The directory that is mounted with the login [default: the only one ever mounted]
    mountpoint: Option<PathBuf>,
    /// The mount's state directory, if it is not the default one
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl LogoutArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let state = state_of(self.state.as_deref(), self.mountpoint.as_deref())?;
        let Some(login) = state.saved_login()? else {
            println!("not logged in");
            return Ok(ExitCode::SUCCESS);
        };
        let revoked = block_on(async { Remote::new(&login)?.log_out().await })?;
        state.forget_login()?;
        match revoked {
            Ok(()) => {
                println!("logged out of {}", login.server);
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                eprintln!(
                    "heirloom: deleted the token here, but could not revoke it at {}: {}; ask the \
                     server's administrator to revoke this device",
                    login.server,
                    error.chain()
                );
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
