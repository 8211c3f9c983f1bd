//! The process.

use std::net::SocketAddr;

use crate::config::Config;

/// A server that listens. Dropping it does not stop it; `stop` does.
#[derive(Debug)]
pub struct Server {}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {}

impl Server {
    /// Opens the data directory and listens; the socket accepts when this returns. Must run inside a tokio runtime.
    pub async fn start(config: Config, listen: SocketAddr) -> Result<Self, ServeError> {
        todo!()
    }
    /// Where it listens (the port, if 0 was asked for).
    pub fn address(&self) -> SocketAddr {
        todo!()
    }
    /// For the embedded server: makes the user if missing and answers a (new) token for it.
    pub async fn token_for(&self, user: &str) -> Result<String, ServeError> {
        todo!()
    }
    /// Stops accepting, lets requests under way finish for a named time, closes the index.
    pub async fn stop(self) -> Result<(), ServeError> {
        todo!()
    }
}
