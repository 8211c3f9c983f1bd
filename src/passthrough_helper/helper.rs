//! The helper: opens backing files for a daemon that lacks the capability.
//!
//! It is a program of its own, started by each daemon, as the same user, with a socket in place of
//! standard input. An administrator gave it `CAP_SYS_ADMIN`, and any program of that user can start
//! it just as well and send it whatever it likes. Therefore:
//!
//! - it only opens and closes backing files, and only on a device that is `/dev/fuse`;
//! - it accepts only files that its user could have changed anyway, by their present rights
//!   ([`check_file`]);
//! - it keeps a bounded number open, and ends with its socket or at the first invalid request.
//!
//! The device comes with every request and is not kept: a mount must end with its daemon, not with
//! its helper.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, OFlags, StatxAttributes, StatxFlags, fcntl_getfl, fstat, fstatfs, makedev,
    statx,
};
use rustix::io::Errno;
use rustix::net::sockopt::socket_type;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendFlags, SocketType, recvmsg, sendmsg,
};
use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::set_no_new_privs;

use super::backing_ioctl;
use super::message::{REQUEST_BYTES, opcode};

/// Backing files open at a time: the spare files (512) and as many in use. The kernel does not count
/// them against any limit of the user.
pub(super) const BACKINGS_MAX: u32 = 1024;

/// Character device 10:229 (Documentation/admin-guide/devices.txt).
const FUSE_DEVICE: (u32, u32) = (10, 229);

/// File systems that keep files on a disk: ext4, XFS, btrfs, F2FS (linux/magic.h). Elsewhere a
/// regular file may be more than its bytes: those of `/proc`, `/sys` and of control groups check the
/// rights of the process that opened them, and that would be the helper.
const DISK_FILE_SYSTEMS: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// Serves one daemon until it closes its end of the socket.
pub fn serve(socket: &OwnedFd) -> io::Result<()> {
    if (getuid(), getgid()) != (geteuid(), getegid()) {
        return Err(io::Error::other(
            "must not be set-user-id; give it \"setcap cap_sys_admin=ep\" instead",
        ));
    }
    if socket_type(socket) != Ok(SocketType::SEQPACKET) {
        return Err(io::Error::other(
            "is started by \"heirloom mount\"; it cannot be used by itself",
        ));
    }
    set_no_new_privs(true)?;
    let mut backings = OpenBackings::default();
    while let Some(request) = receive(socket)? {
        let opened = match request {
            Request::Open { device, file } => backings.open(&device, &file),
            Request::Close { device, id } => {
                backings.close(&device, id)?;
                continue;
            }
        };
        let reply = match opened {
            Ok(id) => i32::try_from(id).unwrap_or(-Errno::OVERFLOW.raw_os_error()),
            Err(error) => -error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
        };
        let reply = reply.to_le_bytes();
        match sendmsg(
            socket,
            &[IoSlice::new(&reply)],
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL,
        ) {
            Err(Errno::PIPE) => return Ok(()),
            sent => sent?,
        };
    }
    Ok(())
}

#[derive(Debug)]
enum Request {
    Open { device: OwnedFd, file: OwnedFd },
    Close { device: OwnedFd, id: u32 },
}

/// The next request; `None` when the daemon is gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<Request>> {
    let mut bytes = [0; REQUEST_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let is_complete = received.bytes == REQUEST_BYTES
        && !received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let messages = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let mut files = messages.flatten();
    let (device, file, more) = (files.next(), files.next(), files.next());
    let is_complete = is_complete && more.is_none();
    let [code, id @ ..] = bytes;
    match (code, device, file) {
        (opcode::OPEN, Some(device), Some(file)) if is_complete => {
            Ok(Some(Request::Open { device, file }))
        }
        (opcode::CLOSE, Some(device), None) if is_complete => Ok(Some(Request::Close {
            device,
            id: u32::from_le_bytes(id),
        })),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "received an invalid request",
        )),
    }
}

/// The number of backing files that this helper has open.
#[derive(Debug, Default)]
pub(super) struct OpenBackings {
    pub(super) count: u32,
}

impl OpenBackings {
    pub(super) fn open(&mut self, device: &OwnedFd, file: &OwnedFd) -> io::Result<u32> {
        check_device(device)?;
        check_file(file)?;
        if self.count >= BACKINGS_MAX {
            return Err(Errno::MFILE.into());
        }
        let id = backing_ioctl::open(device, file)?;
        self.count += 1;
        Ok(id)
    }

    fn close(&mut self, device: &OwnedFd, id: u32) -> io::Result<()> {
        check_device(device)?;
        backing_ioctl::close(device, id)?;
        // Below zero: an earlier helper of the same daemon opened this one.
        self.count = self.count.saturating_sub(1);
        Ok(())
    }
}

/// Fails with `ENOTTY` unless the device is `/dev/fuse`: an ioctl means something else to every
/// device.
fn check_device(device: &OwnedFd) -> io::Result<()> {
    let stat = fstat(device)?;
    let (major, minor) = FUSE_DEVICE;
    let is_fuse = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_fuse && stat.st_rdev == makedev(major, minor) {
        Ok(())
    } else {
        Err(Errno::NOTTY.into())
    }
}

/// Fails with `EACCES` unless this user's file may become a backing file.
///
/// The kernel opens a backing file anew for each program that opens it through the mount, for
/// reading and writing, without a permission check. So it must be a regular file on a disk that
/// belongs to this user, who can give themselves every right to it, and it must not be immutable or
/// append-only, which an owner cannot change. Its path is not checked: a process that can pass the
/// descriptor has the file open.
fn check_file(file: impl AsFd) -> io::Result<()> {
    let file = file.as_fd();
    // A descriptor with O_PATH does not open the file.
    let is_open = !fcntl_getfl(file)?.contains(OFlags::PATH);
    let facts = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let is_regular = FileType::from_raw_mode(facts.stx_mode.into()) == FileType::RegularFile;
    let is_owned = facts.stx_uid == getuid().as_raw();
    let is_restricted = facts
        .stx_attributes
        .intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND);
    let is_on_a_disk =
        u64::try_from(fstatfs(file)?.f_type).is_ok_and(|kind| DISK_FILE_SYSTEMS.contains(&kind));
    if is_open && is_regular && is_owned && !is_restricted && is_on_a_disk {
        Ok(())
    } else {
        Err(Errno::ACCESS.into())
    }
}
