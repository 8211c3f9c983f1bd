//! The data directory, and what the administrator decided.

use std::path::{Path, PathBuf};
use std::time::Duration;

use heirloom_protocol::message::CrossUser;

/// What the administrator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept.
    pub data: DataDir,
    /// Policy for images that another user holds.
    pub cross_user: CrossUser,
    /// How long an interrupted upload waits for its next shard.
    pub upload_expiry: Duration,
    /// How long the trash keeps a photo.
    pub trash_expiry: Duration,
}

/// The directory that holds index, images and unfinished uploads; mode 0700.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}
impl DataDir {
    /// Opens the directory, making it if it is missing.
    pub fn open(root: &Path) -> Result<Self, ConfigError> {
        todo!()
    }
    /// `sqlite://...` of the embedded index.
    pub fn index_url(&self) -> String {
        todo!()
    }
    /// Verified images: `images/ab/abcdef...`.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }
    /// Unfinished uploads.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }
    /// Images found damaged.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {}
