//! The embedded server: runs in the daemon, for one person on this machine, without any set-up.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use heirloom_server::config::{Config, ConfigError as ServerConfigError, DataDir};
use heirloom_server::serve::{ServeError, Server};

use super::server_choice::token_dir;
use crate::config::{ConfigError, Login, ServerUrl, TokenError};

/// The only user of an embedded server.
const USER: &str = "me";

/// A server in this process, on a loopback port chosen by the system.
#[derive(Debug)]
pub(super) struct EmbeddedServer {
    server: Server,
}

/// Why the embedded server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Its data directory cannot be used.
    #[error("cannot use its data directory")]
    Data(#[from] ServerConfigError),
    /// It failed to start.
    #[error("it failed to start")]
    Serve(#[from] ServeError),
    /// Its token cannot be stored.
    #[error("cannot store its token")]
    Token(#[from] ConfigError),
    /// It issued an invalid token: a bug.
    #[error("it issued an invalid token")]
    InvalidToken(#[from] TokenError),
}

impl EmbeddedServer {
    /// Starts the server with its data in `data`; also returns the login for it.
    pub(super) async fn start(data: &Path) -> Result<(Self, Login), EmbeddedError> {
        let server = Server::start(
            Config::new(DataDir::open(data)?),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        )
        .await?;
        let url = ServerUrl::on_this_machine(server.address());
        let token_dir = token_dir(data)?;
        let token = match token_dir.saved_login()? {
            Some(login) => login.token,
            None => server.token_for(USER).await?.parse()?,
        };
        let login = Login {
            server: url,
            token,
            ca_file: None,
        };
        token_dir.save_login(&login)?;
        Ok((Self { server }, login))
    }

    /// Lets requests in flight finish, then stops the server.
    pub(super) async fn stop(self) {
        if let Err(error) = self.server.stop().await {
            tracing::error!(%error, "the embedded server did not stop cleanly");
        }
    }
}
