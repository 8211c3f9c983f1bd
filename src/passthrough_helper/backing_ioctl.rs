//! The two ioctls of FUSE that open and close backing files.
#![expect(unsafe_code, reason = "an ioctl without a wrapper")]

use std::io;
use std::os::fd::AsFd;

use fuser::BackingId;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `FUSE_DEV_IOC_BACKING_CLOSE` (linux/fuse.h).
const BACKING_CLOSE: Opcode = opcode::write::<u32>(229, 2);

/// `FUSE_DEV_IOC_BACKING_OPEN`: returns the file's backing id in this mount.
pub(super) fn open(device: impl AsFd, file: impl AsFd) -> io::Result<u32> {
    BackingId::create_raw(device, file)
}

pub(super) fn close(device: impl AsFd, id: u32) -> io::Result<()> {
    // SAFETY: this command reads one 32-bit number through the pointer that it is given, and
    // nothing else.
    Ok(unsafe { ioctl(device, Setter::<BACKING_CLOSE, u32>::new(id)) }?)
}
