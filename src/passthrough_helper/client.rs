//! A broker for a daemon without the capability: it starts the helper program and asks it.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::broker::BackingBroker;
use super::message::{REPLY_BYTES, REQUEST_BYTES, opcode};

/// File name of the helper program, which is in the directory of this program.
const HELPER: &str = "heirloom-passthrough";

/// A helper that does not reply for this long is taken for dead: nothing that it does waits.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(5);

/// Opens backing files through the helper program.
///
/// The helper is started with the first file. One that has ended, or with which something went
/// wrong, is replaced at the next request.
#[derive(Debug)]
pub struct BrokerClient {
    device: OwnedFd,
    program: PathBuf,
    helper: Mutex<Option<HelperProcess>>,
}

/// A running helper; dropping it ends the process.
#[derive(Debug)]
struct HelperProcess {
    socket: OwnedFd,
    process: Child,
}

impl BrokerClient {
    /// A client for the mount of this FUSE session.
    pub fn new(session: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            device: session.as_fd().try_clone_to_owned()?,
            program: std::env::current_exe()?.with_file_name(HELPER),
            helper: Mutex::default(),
        })
    }

    /// Sends a request to the running helper, or to a new one. On an error the helper is ended.
    fn with_helper<T>(
        &self,
        request: impl FnOnce(&HelperProcess) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut running = self.helper.lock();
        let helper = match running.take() {
            Some(helper) => helper,
            None => HelperProcess::start(&self.program)?,
        };
        let reply = request(&helper)?;
        *running = Some(helper);
        Ok(reply)
    }
}

impl BackingBroker for BrokerClient {
    fn open_backing(&self, file: &File) -> io::Result<u32> {
        self.with_helper(|helper| {
            helper.send(opcode::OPEN, 0, &[self.device.as_fd(), file.as_fd()])?;
            helper.receive()
        })?
    }

    fn close_backing(&self, id: u32) -> io::Result<()> {
        self.with_helper(|helper| helper.send(opcode::CLOSE, id, &[self.device.as_fd()]))
    }
}

impl HelperProcess {
    fn start(program: &Path) -> io::Result<Self> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(REPLY_WAIT_MAX))?;
        set_socket_timeout(&socket, Timeout::Send, Some(REPLY_WAIT_MAX))?;
        let process = Command::new(program)
            .stdin(theirs)
            .stdout(Stdio::null())
            .env_clear()
            .current_dir("/")
            .spawn()?;
        Ok(Self { socket, process })
    }

    fn send(&self, opcode: u8, id: u32, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut bytes = [opcode; REQUEST_BYTES];
        bytes[1..].copy_from_slice(&id.to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(Errno::NOBUFS.into());
        }
        sendmsg(
            &self.socket,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// The outer error is of the connection, the inner one is the helper's reply.
    fn receive(&self) -> io::Result<io::Result<u32>> {
        let mut bytes = [0; REPLY_BYTES];
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(
            &self.socket,
            buffer,
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::empty(),
        )?;
        if received.bytes != REPLY_BYTES {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let reply = i32::from_le_bytes(bytes);
        Ok(u32::try_from(reply).map_err(|_| io::Error::from_raw_os_error(reply.saturating_neg())))
    }
}

impl Drop for HelperProcess {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        match ended {
            Ok(status) => tracing::debug!(%status, "the passthrough helper has ended"),
            Err(error) => tracing::warn!(%error, "the passthrough helper could not be ended"),
        }
    }
}
