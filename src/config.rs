//! Where things are, and what the person decided.

use std::path::{Path, PathBuf};

/// The directory with everything of one mount: spool, journal, log, control socket, login. Mode 0700.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it if it is missing.
    pub fn open(root: &Path) -> Result<Self, ConfigError> {
        todo!()
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.redb")
    }
    pub fn log(&self) -> PathBuf {
        self.root.join("heirloom.log")
    }
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }
    /// Claims the directory for this process (flock); `InUse` with the holder's process id otherwise. Released on drop.
    pub fn lock(&self) -> Result<StateLock, ConfigError> {
        todo!()
    }
    pub fn saved_login(&self) -> Result<Option<Login>, ConfigError> {
        todo!()
    }
    /// login.json, mode 0600, written aside and renamed.
    pub fn save_login(&self, login: &Login) -> Result<(), ConfigError> {
        todo!()
    }
    /// Default state directory for a mountpoint: `$XDG_STATE_HOME/heirloom/<mountpoint escaped>`.
    pub fn default_for(mountpoint: &Path) -> Result<PathBuf, ConfigError> {
        todo!()
    }
}

#[derive(Debug)]
pub struct StateLock {}

/// A server, and the right to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub server: ServerUrl,
    pub token: Token,
    /// PEM file of certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// `http://host:port` or `https://host[:port]`, nothing behind it; checked when made (FromStr, Display, serde as string).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(hyper::Uri);
impl ServerUrl {
    pub fn uri(&self) -> &hyper::Uri {
        &self.0
    }
}

/// A device's token. Debug shows no part of it. Checked: visible ASCII, not empty, at most 512 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);
impl Token {
    pub fn reveal(&self) -> &str {
        &self.0
    }
    /// The first line of a token file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        todo!()
    }
}
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Which files are backed up; the rest stays local. clap::ValueEnum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    #[default]
    Images,
    Media,
    All,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {}
