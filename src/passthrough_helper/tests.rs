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

use super::helper::{Desk, LENT_MAX, word};
use super::serve;

/// A helper, and somebody who asks it whatever they like. The device is no mount's, so the kernel
/// says `EPERM` to all that the helper agrees to.
struct Asker {
    socket: OwnedFd,
    serving: JoinHandle<io::Result<()>>,
    fuse: File,
    home: tempfile::TempDir,
}

const AGREED: i32 = -Errno::PERM.raw_os_error();
const REFUSED: i32 = -Errno::ACCESS.raw_os_error();

impl Asker {
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
    fn lend(&self, path: impl AsRef<Path>, flags: i32) -> i32 {
        let answer = self.ask(
            &word_of(word::LEND),
            &[self.fuse.as_fd(), open(path, flags).as_fd()],
        );
        answer.expect("an answer")
    }
    /// The answer; none if the helper hangs up.
    fn ask(&self, request: &[u8], files: &[BorrowedFd<'_>]) -> Option<i32> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut beside = SendAncillaryBuffer::new(&mut room);
        assert!(files.is_empty() || beside.push(SendAncillaryMessage::ScmRights(files)));
        sendmsg(
            &self.socket,
            &[IoSlice::new(request)],
            &mut beside,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
        let mut answer = [0; 4];
        let came = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut answer)],
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::empty(),
        );
        (came.unwrap().bytes == answer.len()).then(|| i32::from_le_bytes(answer))
    }
    /// How the helper ended, after we hung up.
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

fn word_of(word: u8) -> [u8; 5] {
    [word, 0, 0, 0, 0]
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

/// Takes an attribute of chattr(1) away again, or the folder could not be removed.
struct Bound(PathBuf);

impl Bound {
    fn new(path: PathBuf, attribute: &str) -> Self {
        chattr(&format!("+{attribute}"), &path);
        Self(path)
    }
}

impl Drop for Bound {
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
fn a_helper_lends_its_users_own_files_however_they_are_open_here() {
    let asker = Asker::new();
    let path = asker.file("photo.jpg");
    assert_eq!(asker.lend(&path, libc::O_RDWR), AGREED);
    assert_eq!(asker.lend(&path, libc::O_RDONLY), AGREED);
    // Made ahead, without a name.
    assert_eq!(
        asker.lend(asker.home.path(), libc::O_RDWR | libc::O_TMPFILE),
        AGREED
    );
    asker.end().unwrap();
}

#[test]
fn a_helper_lends_nothing_that_its_user_could_not_change() {
    let asker = Asker::new();
    let others = asker.file("others.jpg");
    chown(&others, Some(65_534), None)
        .expect("this test needs root, to have a file of somebody else");
    assert_eq!(asker.lend(&others, libc::O_RDONLY), REFUSED);
    assert_eq!(
        asker.lend(&others, libc::O_RDWR),
        REFUSED,
        "it was opened by rights that are not the user's any more"
    );
    let immutable = Bound::new(asker.file("immutable.jpg"), "i");
    assert_eq!(asker.lend(&immutable.0, libc::O_RDONLY), REFUSED);
    let growing = Bound::new(asker.file("growing.jpg"), "a");
    assert_eq!(asker.lend(&growing.0, libc::O_RDONLY), REFUSED);
    drop((immutable, growing));
    asker.end().unwrap();
}

#[test]
fn a_helper_lends_nothing_but_plain_files_on_a_disk() {
    let asker = Asker::new();
    assert_eq!(
        asker.lend(asker.home.path(), libc::O_RDONLY),
        REFUSED,
        "a folder"
    );
    assert_eq!(asker.lend("/dev/null", libc::O_RDWR), REFUSED, "a device");
    assert_eq!(
        asker.lend(asker.file("place.jpg"), libc::O_PATH),
        REFUSED,
        "a mere place"
    );
    // Plain files of the user's own, which look at the rights of who opened them.
    assert_eq!(asker.lend("/proc/self/uid_map", libc::O_RDWR), REFUSED);
    assert_eq!(asker.lend("/proc/self/mem", libc::O_RDWR), REFUSED);
    asker.end().unwrap();
}

#[test]
fn a_helper_talks_to_no_other_device() {
    let asker = Asker::new();
    let photo = asker.file("photo.jpg");
    // Most devices say ENOTTY by themselves: what it would not lend either shows that none was
    // asked.
    let file = open("/dev/null", 0);
    for (other, flags) in [
        (Path::new("/dev/null"), libc::O_RDWR),
        (&photo, libc::O_RDWR),
        (Path::new("/"), 0),
    ] {
        let answer = asker.ask(
            &word_of(word::LEND),
            &[open(other, flags).as_fd(), file.as_fd()],
        );
        assert_eq!(answer, Some(-Errno::NOTTY.raw_os_error()), "{other:?}");
    }
    assert_eq!(
        asker.ask(
            &word_of(word::TAKE_BACK),
            &[open(&photo, libc::O_RDWR).as_fd()]
        ),
        None
    );
    assert!(asker.end().is_err());
}

#[test]
fn a_helper_lends_so_many_files_at_a_time_and_no_more() {
    let asker = Asker::new();
    let (photo, fuse) = (
        open(asker.file("photo.jpg"), libc::O_RDWR).into(),
        open("/dev/fuse", libc::O_RDWR).into(),
    );
    let mut desk = Desk { lent: LENT_MAX - 1 };
    assert_eq!(
        desk.lend(&fuse, &photo).unwrap_err().raw_os_error(),
        Some(-AGREED)
    );
    desk.lent = LENT_MAX;
    assert_eq!(
        desk.lend(&fuse, &photo).unwrap_err().raw_os_error(),
        Some(Errno::MFILE.raw_os_error())
    );
    asker.end().unwrap();
}

#[test]
fn a_helper_hangs_up_at_the_first_word_that_it_does_not_know() {
    let fuse = open("/dev/fuse", libc::O_RDWR);
    let file = fuse.as_fd();
    let requests: [(&[u8], &[BorrowedFd<'_>]); 10] = [
        (&word_of(0), &[]),
        (&word_of(3), &[file, file]),
        (&word_of(255), &[file]),
        (&[word::LEND], &[file, file]),
        (&[word::LEND; 6], &[file, file]),
        (&word_of(word::LEND), &[]),
        (&word_of(word::LEND), &[file]),
        (&word_of(word::LEND), &[file, file, file]),
        (&word_of(word::TAKE_BACK), &[]),
        (&word_of(word::TAKE_BACK), &[file, file]),
    ];
    for (request, files) in requests {
        let asker = Asker::new();
        assert_eq!(asker.ask(request, files), None, "{request:?}");
        assert_eq!(
            asker.end().unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "{request:?}"
        );
    }
}

#[test]
fn a_helper_that_nobody_started_for_a_mount_does_nothing() {
    let (one, stream) = pair(SocketType::STREAM);
    drop(one);
    assert!(serve(&stream).is_err());
    assert!(serve(&open("/dev/null", libc::O_RDWR).into()).is_err());
}
