//! The names of photos, as the server should know them: an outbox that empties itself in batches when the server is there.

use std::sync::Arc;

use heirloom_protocol::LibraryPath;

use crate::journal::{Journal, JournalError};
use crate::remote::Remote;

#[derive(Clone, Debug)]
pub struct Library {}

impl Library {
    /// Starts the sender on this runtime.
    pub fn start(runtime: &tokio::runtime::Handle, journal: Arc<Journal>, remote: Remote) -> Self {
        todo!()
    }
    /// A photo moved in the mount. Durable in the outbox when it returns. Blocks on the disk, not on the network.
    pub fn moved(&self, from: &LibraryPath, to: &LibraryPath) -> Result<(), JournalError> {
        todo!()
    }
    /// A photo was removed in the mount: to the server's trash.
    pub fn removed(&self, path: &LibraryPath) -> Result<(), JournalError> {
        todo!()
    }
    /// Something was put into the outbox (by Journal::settle): send soon.
    pub fn wake(&self) {
        todo!()
    }
    /// Stops sending; returns when the task has ended.
    pub async fn stop(&self) {
        todo!()
    }
}
