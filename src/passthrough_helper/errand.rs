//! Errands: how a daemon has its helper lend.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::helper::{ANSWER_BYTES, REQUEST_BYTES, word};

/// A helper that does not answer for so long is taken for dead. It has nothing to wait for.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Where the helper is, and the one that runs. One that has ended is started again when it is
/// needed.
#[derive(Debug)]
pub(super) struct Errand {
    program: PathBuf,
    helper: Mutex<Option<Helper>>,
}

/// A running helper, which ends when this is dropped.
#[derive(Debug)]
struct Helper {
    socket: OwnedFd,
    process: Child,
}

impl Errand {
    pub(super) fn new(program: PathBuf) -> Self {
        Self {
            program,
            helper: Mutex::default(),
        }
    }

    pub(super) fn lend(&self, device: &OwnedFd, file: &File) -> io::Result<u32> {
        self.with_helper(|helper| {
            helper.send(word::LEND, 0, &[device.as_fd(), file.as_fd()])?;
            helper.answer()
        })?
    }

    pub(super) fn take_back(&self, device: &OwnedFd, number: u32) -> io::Result<()> {
        self.with_helper(|helper| helper.send(word::TAKE_BACK, number, &[device.as_fd()]))
    }

    /// With the helper that runs, or a new one. One with which something goes wrong is ended.
    fn with_helper<T>(&self, ask: impl FnOnce(&Helper) -> io::Result<T>) -> io::Result<T> {
        let mut place = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        let helper = match place.take() {
            Some(helper) => helper,
            None => Helper::start(&self.program)?,
        };
        let answer = ask(&helper)?;
        *place = Some(helper);
        Ok(answer)
    }
}

impl Helper {
    fn start(program: &Path) -> io::Result<Self> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_MAX))?;
        set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_MAX))?;
        let process = Command::new(program)
            .stdin(theirs)
            .stdout(Stdio::null())
            .env_clear()
            .current_dir("/")
            .spawn()?;
        Ok(Self { socket, process })
    }

    fn send(&self, word: u8, number: u32, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut bytes = [word; REQUEST_BYTES];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut beside = SendAncillaryBuffer::new(&mut room);
        if !beside.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(Errno::NOBUFS.into());
        }
        sendmsg(
            &self.socket,
            &[IoSlice::new(&bytes)],
            &mut beside,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// The outer error is of the way to the helper, the inner one its answer.
    fn answer(&self) -> io::Result<io::Result<u32>> {
        let mut bytes = [0; ANSWER_BYTES];
        let room = &mut [IoSliceMut::new(&mut bytes)];
        let came = recvmsg(
            &self.socket,
            room,
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::empty(),
        )?;
        if came.bytes != ANSWER_BYTES {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let answer = i32::from_le_bytes(bytes);
        Ok(
            u32::try_from(answer)
                .map_err(|_| io::Error::from_raw_os_error(answer.saturating_neg())),
        )
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        match ended {
            Ok(status) => tracing::debug!(%status, "the helper that lends files has ended"),
            Err(error) => tracing::warn!(%error, "the helper that lends files does not end"),
        }
    }
}
