//! The two requests to the kernel.
#![expect(unsafe_code, reason = "an ioctl without a wrapper")]

use std::io;
use std::os::fd::AsFd;

use fuser::BackingId;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `FUSE_DEV_IOC_BACKING_CLOSE` (linux/fuse.h).
const TAKE_BACK: Opcode = opcode::write::<u32>(229, 2);

/// `FUSE_DEV_IOC_BACKING_OPEN`: the file's number in this mount.
pub(super) fn lend(device: impl AsFd, file: impl AsFd) -> io::Result<u32> {
    BackingId::create_raw(device, file)
}

pub(super) fn take_back(device: impl AsFd, number: u32) -> io::Result<()> {
    // SAFETY: this command reads one 32-bit number through the pointer that it is given, and
    // nothing else.
    Ok(unsafe { ioctl(device, Setter::<TAKE_BACK, u32>::new(number)) }?)
}
