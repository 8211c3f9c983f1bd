//! Backings: files of the spool that the kernel was given, to read and write them for programs without us (FUSE passthrough).
//!
//! A backing is a number that means an open file to one mount. The kernel gives numbers only to who has `CAP_SYS_ADMIN` in the first
//! user namespace, and counts them as the mount's until they are given back or the mount ends.
#![expect(unsafe_code, reason = "an ioctl without a wrapper, and numbers whose lifetime fuser cannot see")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use fuser::{BackingId, FileAttr, FileHandle, FopenFlags, Generation, ReplyCreate, ReplyOpen};
use rustix::ioctl::{Setter, ioctl, opcode};

use super::answer::KNOWN_FOR;
use crate::spool::{self, Access, Durability, Opening};

/// `FUSE_DEV_IOC_BACKING_CLOSE` (linux/fuse.h).
const GIVE_BACK: rustix::ioctl::Opcode = opcode::write::<u32>(229, 2);

const READING: Opening = Opening { access: Access::Read, durability: Durability::Lazy };

/// The device of one mount. Whoever keeps it keeps the mount's programs waiting for answers, so only the thread that answers does.
#[derive(Debug)]
pub(super) struct Device(OwnedFd);

/// One file that the kernel has. Given back when dropped, unless the mount has ended.
#[derive(Debug)]
pub(super) struct Backing {
    number: u32,
    device: Weak<Device>,
}

impl Device {
    pub(super) fn of(session: impl AsFd) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(session.as_fd().try_clone_to_owned()?)))
    }

    /// Gives the kernel a file; `EPERM` without the right to, `ELOOP` if the file's disk is itself stacked on another.
    ///
    /// What the kernel gets is open for reading only, whatever it then opens for programs: it keeps it until the mount is gone,
    /// also of a process that was killed, and whoever asks then whether the file is still being written must not meet it.
    pub(super) fn lend(self: &Arc<Self>, file: &File) -> io::Result<Backing> {
        let number = BackingId::create_raw(&self.0, spool::reopen(file, READING)?)?;
        Ok(Backing { number, device: Arc::downgrade(self) })
    }
}

impl Backing {
    /// Answers an open: the kernel serves this handle from now on.
    pub(super) fn answer_open(&self, reply: ReplyOpen, handle: FileHandle, flags: FopenFlags) {
        // SAFETY: the number is good, for `self` gives it back only when dropped, and it is taken out again below.
        let id = unsafe { reply.wrap_backing(self.number) };
        reply.opened_passthrough(handle, flags, &id);
        id.into_raw();
    }

    /// The same for a create.
    pub(super) fn answer_create(
        &self,
        reply: ReplyCreate,
        (shape, generation): (&FileAttr, Generation),
        handle: FileHandle,
        flags: FopenFlags,
    ) {
        // SAFETY: as in `answer_open`.
        let id = unsafe { reply.wrap_backing(self.number) };
        reply.created_passthrough(&KNOWN_FOR, shape, generation, handle, flags, &id);
        id.into_raw();
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let Some(device) = self.device.upgrade() else { return };
        // SAFETY: this command reads one 32-bit number through the pointer that it is given, and nothing else.
        let given_back = unsafe { ioctl(&device.0, Setter::<GIVE_BACK, u32>::new(self.number)) };
        if let Err(error) = given_back {
            tracing::warn!(%error, "the kernel does not take a file back");
        }
    }
}
