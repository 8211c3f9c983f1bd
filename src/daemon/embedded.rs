//! The server in our own process: for one person, on this machine, with nothing to set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use heirloom_server::config::{Config, ConfigError as ServerConfigError, DataDir};
use heirloom_server::serve::{ServeError, Server};

use crate::config::{ConfigError, Login, ServerUrl, StateDir, TokenError};

/// The one user of an embedded server.
const USER: &str = "me";

/// A server that runs in this process, on a port of loopback that the system chose.
#[derive(Debug)]
pub(super) struct Embedded {
    server: Server,
}

/// What keeps it from running.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Its data directory cannot be used.
    #[error("cannot use its data directory")]
    Data(#[from] ServerConfigError),
    /// It does not start.
    #[error("it does not start")]
    Serve(#[from] ServeError),
    /// Its token cannot be kept.
    #[error("its token cannot be kept")]
    Token(#[from] ConfigError),
    /// It gave a token that is none: a fault of ours.
    #[error("its token cannot be used")]
    NoToken(#[from] TokenError),
}

impl Embedded {
    /// Starts it on `data`; answers how to speak to it.
    pub(super) async fn start(data: &Path) -> Result<(Self, Login), EmbeddedError> {
        let server =
            Server::start(Config::new(DataDir::open(data)?), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = ServerUrl::on_this_machine(server.address());
        // The token is kept beside the data that it opens, under the same lock and key.
        let keeper = StateDir::open(&data.join("client"))?;
        let token = match keeper.saved_login()? {
            Some(login) => login.token,
            None => server.token_for(USER).await?.parse()?,
        };
        let login = Login { server: url, token, ca_file: None };
        keeper.save_login(&login)?;
        Ok((Self { server }, login))
    }

    /// Lets requests under way finish, then ends it.
    pub(super) async fn stop(self) {
        if let Err(error) = self.server.stop().await {
            tracing::error!(%error, "the embedded server did not stop cleanly");
        }
    }
}
