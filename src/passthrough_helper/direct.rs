//! A broker for a daemon that has the capability itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::backing_ioctl;
use super::broker::BackingBroker;

/// Opens backing files from this process. Without the capability the first one fails with `EPERM`.
#[derive(Debug)]
pub struct DirectBroker {
    device: OwnedFd,
}

impl DirectBroker {
    /// A broker for the mount of this FUSE session.
    pub fn new(session: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            device: session.as_fd().try_clone_to_owned()?,
        })
    }
}

impl BackingBroker for DirectBroker {
    fn open_backing(&self, file: &File) -> io::Result<u32> {
        backing_ioctl::open(&self.device, file)
    }
    fn close_backing(&self, id: u32) -> io::Result<()> {
        backing_ioctl::close(&self.device, id)
    }
}
