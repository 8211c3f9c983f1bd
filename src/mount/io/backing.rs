//! Backing files: files of the spool that the kernel reads and writes itself (FUSE passthrough).
//!
//! A backing id stands for an open file within one mount. The kernel keeps the file until the id is
//! closed or the mount ends.

use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};

use crate::passthrough_helper::BackingBroker;
use crate::spool::{self, Access, Durability, OpenOptions};

const READ: OpenOptions = OpenOptions {
    access: Access::Read,
    durability: Durability::Lazy,
};

/// One file that the kernel holds. Dropping it closes the backing, unless the mount has ended.
#[derive(Debug)]
pub(in crate::mount) struct Backing {
    id: u32,
    broker: Weak<dyn BackingBroker>,
}

impl Backing {
    /// Passes a file to the kernel.
    ///
    /// The kernel gets a descriptor that is open for reading only; it opens its own for programs.
    /// It keeps ours until the mount is gone, even when this process is killed, and a probe for
    /// open writers of the file must not find it.
    pub(in crate::mount) fn open(file: &File, broker: &Arc<dyn BackingBroker>) -> io::Result<Self> {
        let id = broker.open_backing(&spool::reopen(file, READ)?)?;
        Ok(Self {
            id,
            broker: Arc::downgrade(broker),
        })
    }

    /// The id by which the kernel knows the file.
    pub(in crate::mount) fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let Some(broker) = self.broker.upgrade() else {
            return;
        };
        if let Err(error) = broker.close_backing(self.id) {
            tracing::warn!(%error, id = self.id, "the kernel did not close a backing file");
        }
    }
}
