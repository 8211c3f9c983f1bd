//! The server in our own process: for one person, on this machine, with nothing to set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use heirloom_server::config::{Config, ConfigError as ServerConfigError, DataDir};
use heirloom_server::serve::{ServeError, Server};

use super::ServerChoice;
use crate::config::{ConfigError, Login, Mounts, ServerUrl, StateDir, TokenError};
use crate::control::ControlClient;

/// What its address follows where it is named to people.
pub(super) const NAMED: &str = "embedded, ";

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

/// A server that answers, for as long as this is held.
#[derive(Debug)]
pub struct RunningServer {
    login: Login,
    embedded: Option<Embedded>,
}

impl RunningServer {
    /// Makes sure that a server can be spoken to. The embedded one is that of a mount, or, while
    /// none is up, one that runs in this process.
    pub async fn server(choice: ServerChoice) -> Result<Self, EmbeddedError> {
        let data = match choice {
            ServerChoice::At(login) => {
                return Ok(Self {
                    login,
                    embedded: None,
                });
            }
            ServerChoice::Embedded(data) => data,
        };
        if let Some(saved) = keeper(&data)?.saved_login()?
            && let Some(server) = running().await?
        {
            return Ok(Self {
                login: Login { server, ..saved },
                embedded: None,
            });
        }
        let (embedded, login) = Embedded::start(&data).await?;
        Ok(Self {
            login,
            embedded: Some(embedded),
        })
    }

    /// How to speak to it.
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// Ends it, if it runs for us.
    pub async fn end(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// Where the embedded server of a mount listens, if one is up. Its daemon says so, through a socket
/// that is its owner's alone: whoever took over a port that ours once had is shown no token.
async fn running() -> Result<Option<ServerUrl>, ConfigError> {
    for mount in Mounts::open()?.all()? {
        let daemon = ControlClient::new(&StateDir::open(&mount.state)?.control_socket());
        if let Ok(status) = daemon.status().await
            && let Some(server) = status
                .server
                .strip_prefix(NAMED)
                .and_then(|url| url.parse().ok())
        {
            return Ok(Some(server));
        }
    }
    Ok(None)
}

/// Whether the embedded server with its data in this directory was ever started.
pub fn was_used(data: &Path) -> Result<bool, ConfigError> {
    Ok(keeper(data)?.saved_login()?.is_some())
}

/// What the embedded server's token is kept in: beside the data that it opens, under the same lock
/// and key.
fn keeper(data: &Path) -> Result<StateDir, ConfigError> {
    StateDir::open(&data.join("client"))
}

impl Embedded {
    /// Starts it on `data`; answers how to speak to it.
    pub(super) async fn start(data: &Path) -> Result<(Self, Login), EmbeddedError> {
        let server = Server::start(
            Config::new(DataDir::open(data)?),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        )
        .await?;
        let url = ServerUrl::on_this_machine(server.address());
        let keeper = keeper(data)?;
        let token = match keeper.saved_login()? {
            Some(login) => login.token,
            None => server.token_for(USER).await?.parse()?,
        };
        let login = Login {
            server: url,
            token,
            ca_file: None,
        };
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
