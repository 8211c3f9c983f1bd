//! The helper: lends files to the kernel for a daemon that may not.
//!
//! A program of its own, started by each daemon, as the same user, with a socket in place of
//! standard input. An administrator gave it `CAP_SYS_ADMIN`, and any program of that user can start
//! it just as well and ask whatever it likes. So:
//!
//! - it does two things, lend this file and take that one back, and only with a device that is
//!   `/dev/fuse`;
//! - it lends only what its user could have changed anyway, by rights that are theirs now
//!   ([`may_be_lent`]);
//! - it lends a bounded number at a time, and ends with its socket or at the first word that it
//!   does not know.
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

use super::kernel;

/// What a daemon asks: five bytes, this word and a number, and with them the mount's device.
pub(super) mod word {
    /// Lend the file that comes behind the device. Without a number. Answered with the file's.
    pub(in crate::passthrough_helper) const LEND: u8 = 1;
    /// Take back what has this number. Not answered: nobody waits for it.
    pub(in crate::passthrough_helper) const TAKE_BACK: u8 = 2;
}

pub(super) const REQUEST_BYTES: usize = 5;

/// An answer is a number; below zero an error of the system's (errno).
pub(super) const ANSWER_BYTES: usize = 4;

/// Files lent at a time: those made ahead (512) and as many that are open. The kernel counts none
/// of them for anybody.
pub(super) const LENT_MAX: u32 = 1024;

/// Character device 10:229 (Documentation/admin-guide/devices.txt).
const FUSE_DEVICE: (u32, u32) = (10, 229);

/// Filesystems that keep files on a disk: ext4, XFS, btrfs, F2FS (linux/magic.h). Elsewhere a plain
/// file may be more than its bytes: those of `/proc`, `/sys` and of control groups look at the
/// rights of who opened them, and that would be us.
const DISKS: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// Serves one daemon until it closes its end.
pub fn serve(socket: &OwnedFd) -> io::Result<()> {
    if (getuid(), getgid()) != (geteuid(), getegid()) {
        return Err(io::Error::other(
            "must not be set-user-id: it needs \"setcap cap_sys_admin=ep\", and no more",
        ));
    }
    if socket_type(socket) != Ok(SocketType::SEQPACKET) {
        return Err(io::Error::other(
            "is started by \"heirloom mount\", and does nothing by itself",
        ));
    }
    set_no_new_privs(true)?;
    let mut desk = Desk::default();
    while let Some(request) = receive(socket)? {
        let lent = match request {
            Request::Lend { device, file } => desk.lend(&device, &file),
            Request::TakeBack { device, number } => {
                desk.take_back(&device, number)?;
                continue;
            }
        };
        let answer = match lent {
            Ok(number) => i32::try_from(number).unwrap_or(-Errno::OVERFLOW.raw_os_error()),
            Err(error) => -error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
        };
        let answer = answer.to_le_bytes();
        match sendmsg(
            socket,
            &[IoSlice::new(&answer)],
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
    Lend { device: OwnedFd, file: OwnedFd },
    TakeBack { device: OwnedFd, number: u32 },
}

/// The next request; none when the daemon is gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<Request>> {
    let mut bytes = [0; REQUEST_BYTES];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = RecvAncillaryBuffer::new(&mut room);
    let came = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            came => break came?,
        }
    };
    if came.bytes == 0 {
        return Ok(None);
    }
    let is_whole = came.bytes == REQUEST_BYTES
        && !came
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let messages = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let mut files = messages.flatten();
    let (device, file, more) = (files.next(), files.next(), files.next());
    let is_whole = is_whole && more.is_none();
    let [word, number @ ..] = bytes;
    match (word, device, file) {
        (word::LEND, Some(device), Some(file)) if is_whole => {
            Ok(Some(Request::Lend { device, file }))
        }
        (word::TAKE_BACK, Some(device), None) if is_whole => Ok(Some(Request::TakeBack {
            device,
            number: u32::from_le_bytes(number),
        })),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "was asked for what it does not know",
        )),
    }
}

/// How many are lent.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) lent: u32,
}

impl Desk {
    pub(super) fn lend(&mut self, device: &OwnedFd, file: &OwnedFd) -> io::Result<u32> {
        only_fuse(device)?;
        may_be_lent(file)?;
        if self.lent >= LENT_MAX {
            return Err(Errno::MFILE.into());
        }
        let number = kernel::lend(device, file)?;
        self.lent += 1;
        Ok(number)
    }

    fn take_back(&mut self, device: &OwnedFd, number: u32) -> io::Result<()> {
        only_fuse(device)?;
        kernel::take_back(device, number)?;
        // Less than none: another helper lent it, before us.
        self.lent = self.lent.saturating_sub(1);
        Ok(())
    }
}

/// `ENOTTY` if a device is another: the same request means something else to each.
fn only_fuse(device: &OwnedFd) -> io::Result<()> {
    let stat = fstat(device)?;
    let (major, minor) = FUSE_DEVICE;
    let is_fuse = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_fuse && stat.st_rdev == makedev(major, minor) {
        Ok(())
    } else {
        Err(Errno::NOTTY.into())
    }
}

/// Whether a file may be lent for the user that we run as; `EACCES` if not.
///
/// The kernel opens a lent file anew for each program that opens it through the mount, for reading
/// and writing, and asks nobody whether it may. So it must be a plain file on a disk that belongs
/// to this user, who can give themselves all rights to it, and of the two kinds that its owner
/// cannot change none: immutable and append-only. Where it can be reached from is not looked at:
/// who can name it here has it open.
fn may_be_lent(file: impl AsFd) -> io::Result<()> {
    let file = file.as_fd();
    // A mere place (O_PATH) is not open at all.
    let is_open = !fcntl_getfl(file)?.contains(OFlags::PATH);
    let facts = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let is_plain = FileType::from_raw_mode(facts.stx_mode.into()) == FileType::RegularFile;
    let is_theirs = facts.stx_uid == getuid().as_raw();
    let is_bound = facts
        .stx_attributes
        .intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND);
    let is_on_a_disk = u64::try_from(fstatfs(file)?.f_type).is_ok_and(|kind| DISKS.contains(&kind));
    if is_open && is_plain && is_theirs && !is_bound && is_on_a_disk {
        Ok(())
    } else {
        Err(Errno::ACCESS.into())
    }
}
