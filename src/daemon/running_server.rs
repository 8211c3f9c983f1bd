//! A server that is sure to run while a command uses it.

use super::ServerChoice;
use super::embedded::{EmbeddedError, EmbeddedServer};
use super::server_choice::{EMBEDDED_NAME_PREFIX, token_dir};
use crate::config::{ConfigError, Login, Mounts, ServerUrl, StateDir};
use crate::control::ControlClient;

/// A server that keeps running for as long as this value is held.
#[derive(Debug)]
pub struct RunningServer {
    login: Login,
    embedded: Option<EmbeddedServer>,
}

impl RunningServer {
    /// Makes sure that the chosen server runs. The embedded server is the one in the daemon of a
    /// mount; if nothing is mounted, it is started in this process.
    pub async fn start(choice: ServerChoice) -> Result<Self, EmbeddedError> {
        let data = match choice {
            ServerChoice::Remote(login) => {
                return Ok(Self {
                    login,
                    embedded: None,
                });
            }
            ServerChoice::Embedded(data) => data,
        };
        if let Some(saved) = token_dir(&data)?.saved_login()?
            && let Some(server) = mounted_server_url().await?
        {
            return Ok(Self {
                login: Login { server, ..saved },
                embedded: None,
            });
        }
        let (embedded, login) = EmbeddedServer::start(&data).await?;
        Ok(Self {
            login,
            embedded: Some(embedded),
        })
    }

    /// The login for the server.
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// Stops the server if it was started in this process.
    pub async fn stop(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// The address of the embedded server in the daemon of a mount, if one is running.
///
/// The daemon reports it over a socket that only its owner can use, so that the token is never sent
/// to a program that took over the port of an earlier embedded server.
async fn mounted_server_url() -> Result<Option<ServerUrl>, ConfigError> {
    for mount in Mounts::open()?.all()? {
        let daemon = ControlClient::new(&StateDir::open(&mount.state)?.control_socket());
        if let Ok(status) = daemon.status().await
            && let Some(server) = status
                .server
                .strip_prefix(EMBEDDED_NAME_PREFIX)
                .and_then(|url| url.parse().ok())
        {
            return Ok(Some(server));
        }
    }
    Ok(None)
}
