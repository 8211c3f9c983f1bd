//! `heirloom logout`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::client::block_on;
use super::login::state_of;
use crate::remote::Remote;

#[derive(Debug, Args)]
pub(super) struct LogoutArgs {
    /// The directory that is mounted with it; may be left out if only one was ever mounted
    mountpoint: Option<PathBuf>,
    /// The state directory of the mount, if it is not the usual one
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl LogoutArgs {
    /// The token is forgotten here whether or not the server could be told; what is not told is
    /// said.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let state = state_of(self.state.as_deref(), self.mountpoint.as_deref())?;
        let Some(login) = state.saved_login()? else {
            println!("nobody is logged in");
            return Ok(ExitCode::SUCCESS);
        };
        let told = block_on(async { Remote::new(&login)?.log_out().await })?;
        state.forget_login()?;
        match told {
            Ok(()) => {
                println!("logged out of {}", login.server);
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                eprintln!(
                    "heirloom: the token is forgotten here, but {} does not know it: {}; revoke this device there",
                    login.server,
                    error.chain()
                );
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
