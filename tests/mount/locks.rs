//! Locks on files in the mount exclude other processes as in any directory; the kernel manages
//! them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::fixture::{TestMount, with_errno};
use rustix::fs::{FlockOperation, fcntl_lock, flock};

/// The script of another process: takes a lock of a kind (`flock`, `posix`, `ofd`) on ten bytes
/// from an offset, shared or exclusive, prints the outcome, and keeps the lock until its input
/// ends. `wait` waits for the lock.
const OTHER: &str = r#"
import fcntl, struct, sys
path, kind, how, start, patience = sys.argv[1:6]
file = open(path, "r+b")
mode = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX}[how]
if patience == "try":
    mode |= fcntl.LOCK_NB
else:
    print("waiting", flush=True)
try:
    if kind == "flock":
        fcntl.flock(file, mode)
    elif kind == "posix":
        fcntl.lockf(file, mode, 10, int(start))
    else:
        type = fcntl.F_RDLCK if how == "shared" else fcntl.F_WRLCK
        command = fcntl.F_OFD_SETLK if patience == "try" else fcntl.F_OFD_SETLKW
        fcntl.fcntl(file, command, struct.pack("hhqqi4x", type, 0, int(start), 10, 0))
    print("has it", flush=True)
except OSError as error:
    print("errno", error.errno, flush=True)
sys.stdin.read()
"#;

/// Another process with its lock; it ends when this is dropped.
struct Other {
    program: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start(path: &Path, kind: &str, how: &str, from: u32, patience: &str) -> Self {
        let arguments = [
            "-c",
            OTHER,
            path.to_str().unwrap(),
            kind,
            how,
            &from.to_string(),
            patience,
        ];
        let mut program = Command::new("python3")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(program.stdout.take().unwrap());
        Self { program, said }
    }
    fn tries(path: &Path, kind: &str, how: &str, from: u32) -> (Self, String) {
        let mut other = Self::start(path, kind, how, from, "try");
        let said = other.hear();
        (other, said)
    }
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        self.program.wait().unwrap();
    }
}

const TAKEN: &str = "errno 11";
const HAS_IT: &str = "has it";
const KINDS: [&str; 3] = ["flock", "posix", "ofd"];

#[test]
fn a_lock_excludes_another_process_until_it_is_released() {
    TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("locked");
        fs::write(&path, "0123456789").unwrap();
        for kind in KINDS {
            let (holder, said) = Other::tries(&path, kind, "exclusive", 0);
            assert_eq!(said, HAS_IT, "{kind}");
            for how in ["exclusive", "shared"] {
                assert_eq!(Other::tries(&path, kind, how, 0).1, TAKEN, "{kind} {how}");
            }
            drop(holder);
            assert_eq!(
                Other::tries(&path, kind, "exclusive", 0).1,
                HAS_IT,
                "{kind} again"
            );
        }
    });
}

#[test]
fn a_shared_lock_admits_readers_and_no_writer() {
    TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("locked");
        fs::write(&path, "0123456789").unwrap();
        for kind in KINDS {
            let (_one, first) = Other::tries(&path, kind, "shared", 0);
            let (_two, second) = Other::tries(&path, kind, "shared", 0);
            let (_three, third) = Other::tries(&path, kind, "exclusive", 0);
            assert_eq!([first, second, third], [HAS_IT, HAS_IT, TAKEN], "{kind}");
        }
    });
}

#[test]
fn locks_on_different_ranges_do_not_conflict() {
    TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("locked");
        fs::write(&path, "0123456789").unwrap();
        for kind in ["posix", "ofd"] {
            let (_one, first) = Other::tries(&path, kind, "exclusive", 0);
            let (_two, second) = Other::tries(&path, kind, "exclusive", 10);
            let (_three, third) = Other::tries(&path, kind, "exclusive", 5);
            // Beyond the end of the file, too: SQLite locks there.
            let (_four, fourth) = Other::tries(&path, kind, "exclusive", 1 << 30);
            assert_eq!(
                [first, second, third, fourth],
                [HAS_IT, HAS_IT, TAKEN, HAS_IT],
                "{kind}"
            );
        }
    });
}

#[test]
fn both_kinds_of_fcntl_lock_conflict_and_flock_is_separate() {
    TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("locked");
        fs::write(&path, "0123456789").unwrap();
        let (_one, first) = Other::tries(&path, "posix", "exclusive", 0);
        let others = ["ofd", "flock"].map(|kind| Other::tries(&path, kind, "exclusive", 0).1);
        assert_eq!(
            (first.as_str(), others.each_ref().map(String::as_str)),
            (HAS_IT, [TAKEN, HAS_IT])
        );
    });
}

#[test]
fn a_waiting_process_gets_the_lock_when_its_holder_is_killed() {
    TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("locked");
        fs::write(&path, "0123456789").unwrap();
        for kind in KINDS {
            let (mut holder, said) = Other::tries(&path, kind, "exclusive", 0);
            let mut waiting = Other::start(&path, kind, "exclusive", 0, "wait");
            assert_eq!(
                (said.as_str(), waiting.hear().as_str()),
                (HAS_IT, "waiting"),
                "{kind}"
            );
            holder.program.kill().unwrap();
            assert_eq!(waiting.hear(), HAS_IT, "{kind}");
        }
    });
}

#[test]
fn a_lock_is_on_the_file_and_not_on_its_name() {
    TestMount::new().assert_like_plain_directory(|root| {
        let (path, renamed) = (root.join("locked"), root.join("renamed"));
        fs::write(&path, "0123456789").unwrap();
        let (_holder, said) = Other::tries(&path, "ofd", "exclusive", 0);
        assert_eq!(said, HAS_IT);
        fs::rename(&path, &renamed).unwrap();
        fs::write(&path, "a new file").unwrap();
        let outcomes = [
            Other::tries(&renamed, "ofd", "exclusive", 0).1,
            Other::tries(&path, "ofd", "exclusive", 0).1,
        ];
        assert_eq!(outcomes, [TAKEN, HAS_IT]);
    });
}

#[test]
fn each_kind_of_lock_is_released_with_its_descriptors() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("locked");
        fs::write(&path, "0123456789").unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let (one, two) = (open(), open());
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        // flock(2): two descriptors of one process are independent, unless one is a duplicate of
        // the other.
        flock(&one, exclusive).unwrap();
        let independent = with_errno(flock(&two, exclusive));
        let copy = one.try_clone().unwrap();
        drop(one);
        let kept_by_copy = with_errno(flock(&two, exclusive));
        drop(copy);
        let free = with_errno(flock(&two, exclusive));
        // fcntl(2): closing any descriptor of the file releases all locks of the process.
        fcntl_lock(&two, exclusive).unwrap();
        let before = Other::tries(&path, "posix", "exclusive", 0).1;
        drop(open());
        let after = Other::tries(&path, "posix", "exclusive", 0).1;
        (independent, kept_by_copy, free, before, after)
    });
    let taken = Err(libc::EAGAIN);
    assert_eq!(
        seen,
        (taken, taken, Ok(()), TAKEN.to_owned(), HAS_IT.to_owned())
    );
}
