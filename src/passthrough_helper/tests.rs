//! The helper: which files and devices it accepts, and which requests it refuses.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::helper::{BACKINGS_MAX, OpenBackings};
use super::message::opcode;
use super::serve;

/// A helper, and a client that sends it any request. The device belongs to no mount, so the kernel
/// answers `EPERM` to everything that the helper accepts.
struct TestClient {
    socket: OwnedFd,
    serving: JoinHandle<io::Result<()>>,
    fuse: File,
    home: tempfile::TempDir,
}

const ACCEPTED: i32 = -Errno::PERM.raw_os_error();
const REFUSED: i32 = -Errno::ACCESS.raw_os_error();

impl TestClient {
    fn new() -> Self {
        let (socket, theirs) = pair(SocketType::SEQPACKET);
        let serving = std::thread::spawn(move || serve(&theirs));
        // Where this program is: the system's folder for temporary files may be on no disk.
        let home =
            tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        Self {
            socket,
            serving,
            fuse: open("/dev/fuse", libc::O_RDWR),
            home,
        }
    }
    fn file(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, b"photo").unwrap();
        path
    }
    fn open_backing(&self, path: impl AsRef<Path>, flags: i32) -> i32 {
        let answer = self.ask(
            &request(opcode::OPEN),
            &[self.fuse.as_fd(), open(path, flags).as_fd()],
        );
        answer.expect("an answer")
    }
    /// The reply; `None` if the helper hangs up.
    fn ask(&self, request: &[u8], files: &[BorrowedFd<'_>]) -> Option<i32> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(files.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(files)));
        sendmsg(
            &self.socket,
            &[IoSlice::new(request)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
        let mut answer = [0; 4];
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut answer)],
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::empty(),
        );
        (received.unwrap().bytes == answer.len()).then(|| i32::from_le_bytes(answer))
    }
    /// Hangs up; returns how the helper ended.
    fn end(self) -> io::Result<()> {
        drop(self.socket);
        self.serving.join().unwrap()
    }
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    let (one, other) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    set_socket_timeout(&one, Timeout::Recv, Some(Duration::from_secs(20))).unwrap();
    (one, other)
}

fn request(opcode: u8) -> [u8; 5] {
    [opcode, 0, 0, 0, 0]
}

fn open(path: impl AsRef<Path>, flags: i32) -> File {
    let can_write = flags & libc::O_ACCMODE != libc::O_RDONLY;
    OpenOptions::new()
        .read(true)
        .write(can_write)
        .custom_flags(flags & !libc::O_ACCMODE)
        .open(path)
        .unwrap()
}

/// A file with an attribute of chattr(1), which is cleared again so that the folder can be removed.
struct Restricted(PathBuf);

impl Restricted {
    fn new(path: PathBuf, attribute: &str) -> Self {
        chattr(&format!("+{attribute}"), &path);
        Self(path)
    }
}

impl Drop for Restricted {
    fn drop(&mut self) {
        chattr("-ia", &self.0);
    }
}

fn chattr(change: &str, path: &Path) {
    assert!(
        Command::new("chattr")
            .arg(change)
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_helper_accepts_its_users_own_files_whatever_they_are_open_for() {
    let client = TestClient::new();
    let path = client.file("photo.jpg");
    assert_eq!(client.open_backing(&path, libc::O_RDWR), ACCEPTED);
    assert_eq!(client.open_backing(&path, libc::O_RDONLY), ACCEPTED);
    // A spare file, without a name.
    assert_eq!(
        client.open_backing(client.home.path(), libc::O_RDWR | libc::O_TMPFILE),
        ACCEPTED
    );
    client.end().unwrap();
}

#[test]
fn a_helper_refuses_files_that_its_user_could_not_change() {
    let client = TestClient::new();
    let others = client.file("others.jpg");
    chown(&others, Some(65_534), None)
        .expect("this test must run as root, to create a file of another user");
    assert_eq!(client.open_backing(&others, libc::O_RDONLY), REFUSED);
    assert_eq!(
        client.open_backing(&others, libc::O_RDWR),
        REFUSED,
        "it was opened with rights that the user no longer has"
    );
    let immutable = Restricted::new(client.file("immutable.jpg"), "i");
    assert_eq!(client.open_backing(&immutable.0, libc::O_RDONLY), REFUSED);
    let growing = Restricted::new(client.file("growing.jpg"), "a");
    assert_eq!(client.open_backing(&growing.0, libc::O_RDONLY), REFUSED);
    drop((immutable, growing));
    client.end().unwrap();
}

#[test]
fn a_helper_accepts_only_regular_files_on_a_disk() {
    let client = TestClient::new();
    assert_eq!(
        client.open_backing(client.home.path(), libc::O_RDONLY),
        REFUSED,
        "a folder"
    );
    assert_eq!(
        client.open_backing("/dev/null", libc::O_RDWR),
        REFUSED,
        "a device"
    );
    assert_eq!(
        client.open_backing(client.file("place.jpg"), libc::O_PATH),
        REFUSED,
        "a descriptor that does not open the file"
    );
    // Regular files of the user that check the rights of the process that opened them.
    assert_eq!(
        client.open_backing("/proc/self/uid_map", libc::O_RDWR),
        REFUSED
    );
    assert_eq!(client.open_backing("/proc/self/mem", libc::O_RDWR), REFUSED);
    client.end().unwrap();
}

#[test]
fn a_helper_uses_no_device_but_fuse() {
    let client = TestClient::new();
    let photo = client.file("photo.jpg");
    // Most devices return ENOTTY by themselves. A file that the helper would refuse with another
    // errno shows that the device was refused first.
    let file = open("/dev/null", 0);
    for (other, flags) in [
        (Path::new("/dev/null"), libc::O_RDWR),
        (&photo, libc::O_RDWR),
        (Path::new("/"), 0),
    ] {
        let answer = client.ask(
            &request(opcode::OPEN),
            &[open(other, flags).as_fd(), file.as_fd()],
        );
        assert_eq!(answer, Some(-Errno::NOTTY.raw_os_error()), "{other:?}");
    }
    assert_eq!(
        client.ask(
            &request(opcode::CLOSE),
            &[open(&photo, libc::O_RDWR).as_fd()]
        ),
        None
    );
    assert!(client.end().is_err());
}

#[test]
fn a_helper_opens_a_bounded_number_of_backings() {
    let client = TestClient::new();
    let (photo, fuse) = (
        open(client.file("photo.jpg"), libc::O_RDWR).into(),
        open("/dev/fuse", libc::O_RDWR).into(),
    );
    let mut backings = OpenBackings {
        count: BACKINGS_MAX - 1,
    };
    assert_eq!(
        backings.open(&fuse, &photo).unwrap_err().raw_os_error(),
        Some(-ACCEPTED)
    );
    backings.count = BACKINGS_MAX;
    assert_eq!(
        backings.open(&fuse, &photo).unwrap_err().raw_os_error(),
        Some(Errno::MFILE.raw_os_error())
    );
    client.end().unwrap();
}

#[test]
fn a_helper_hangs_up_at_the_first_invalid_request() {
    let fuse = open("/dev/fuse", libc::O_RDWR);
    let file = fuse.as_fd();
    let requests: [(&[u8], &[BorrowedFd<'_>]); 10] = [
        (&request(0), &[]),
        (&request(3), &[file, file]),
        (&request(255), &[file]),
        (&[opcode::OPEN], &[file, file]),
        (&[opcode::OPEN; 6], &[file, file]),
        (&request(opcode::OPEN), &[]),
        (&request(opcode::OPEN), &[file]),
        (&request(opcode::OPEN), &[file, file, file]),
        (&request(opcode::CLOSE), &[]),
        (&request(opcode::CLOSE), &[file, file]),
    ];
    for (bytes, files) in requests {
        let client = TestClient::new();
        assert_eq!(client.ask(bytes, files), None, "{bytes:?}");
        assert_eq!(
            client.end().unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "{bytes:?}"
        );
    }
}

#[test]
fn a_helper_without_a_daemon_does_nothing() {
    let (one, stream) = pair(SocketType::STREAM);
    drop(one);
    assert!(serve(&stream).is_err());
    assert!(serve(&open("/dev/null", libc::O_RDWR).into()).is_err());
}
