//! The state that request handlers share.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::StateDir;
use crate::fetch::Fetcher;
use crate::intake::Intake;
use crate::journal::Journal;
use crate::library::Library;
use crate::mount::Mount;
use crate::remote::Remote;
use crate::spool::Spool;
use crate::uploader::Uploader;

/// Handles to the services of one mount, shared by all request handlers.
#[derive(Debug)]
pub struct ControlState {
    /// The mounted directory.
    pub mountpoint: PathBuf,
    /// The state directory.
    pub state_dir: StateDir,
    /// The server's address as `status` shows it.
    pub server: String,
    /// The local files behind the mount.
    pub spool: Spool,
    /// The state of every file, and the receipts.
    pub journal: Arc<Journal>,
    /// Counts files by state and takes failed files in again.
    pub intake: Intake,
    /// The connection's state and the uploads in flight.
    pub uploader: Uploader,
    /// The verified session with the server, and the changes of other devices.
    pub library: Library,
    /// Frees, pins and fetches files.
    pub fetcher: Fetcher,
    /// The server's HTTP interface.
    pub remote: Remote,
    /// The FUSE mount.
    pub mount: Arc<Mount>,
}
