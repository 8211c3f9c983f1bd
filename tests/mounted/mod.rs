//! A mount for one test, unmounted when the test ends, however it ends.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

pub(crate) mod mapping;
pub(crate) mod rounds;

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use heirloom::intake::{BackupState, FileStatus};
use heirloom::journal::FileId;
use heirloom::mount::{ChangeListener, IoMode, Mount, MountError, MountOptions};
use heirloom::spool::Spool;
use heirloom_protocol::LibraryPath;

/// How long a note may take to come: releases are not waited for by the kernel.
const NOTE_WAIT_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Mounted {
    // Dropped in this order: the mount goes before the directories do.
    mount: Option<Mount>,
    notes: Arc<Recorder>,
    home: tempfile::TempDir,
}

/// Writes down what the mount tells, in place of intake.
#[derive(Default)]
pub(crate) struct Recorder {
    notes: Mutex<Vec<String>>,
    came: Condvar,
}

impl Mounted {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("mount")).unwrap();
        let mut this = Self {
            mount: None,
            notes: Arc::default(),
            home,
        };
        this.mount()
            .expect("FUSE works here; else install fuse3 and allow /dev/fuse");
        this
    }
    pub(crate) fn mount(&mut self) -> Result<(), MountError> {
        let spool = Spool::open(&self.home.path().join("spool"))?;
        let notes = Shared(Arc::clone(&self.notes));
        self.mount = Some(Mount::start(
            &self.home.path().join("mount"),
            spool,
            notes,
            options(),
        )?);
        Ok(())
    }
    pub(crate) fn handle(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }
    pub(crate) fn remount(&mut self) {
        // Another test may be starting a program this moment, and until that begins it holds what
        // we have just closed.
        self.handle().unmount_lazily().unwrap();
        self.handle().wait();
        self.mount = None;
        self.mount().unwrap();
    }
    pub(crate) fn let_go(&mut self) {
        self.mount = None;
    }
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
    /// A path in the mount.
    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.path().join("mount").join(name)
    }
    /// The same in the spool.
    pub(crate) fn spooled(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.path().join("spool").join(name)
    }
    /// A path in an ordinary directory on the spool's disk, to compare with.
    pub(crate) fn plain(&self, name: impl AsRef<Path>) -> PathBuf {
        let plain = self.home.path().join("plain");
        std::fs::create_dir_all(&plain).unwrap();
        plain.join(name)
    }
    /// What `act` sees in an ordinary directory, after making sure that it sees the same in the
    /// mount.
    #[track_caller]
    pub(crate) fn alike<T: PartialEq + Debug>(&self, act: impl Fn(&Path) -> T) -> T {
        let wanted = act(&self.plain(""));
        assert_eq!(
            act(&self.at("")),
            wanted,
            "the mount (left) and a plain directory (right) differ"
        );
        wanted
    }
    /// All notes, as soon as this one has come.
    pub(crate) fn notes_until(&self, last: &str) -> Vec<String> {
        self.notes_until_count(last, 1)
    }
    /// All notes, as soon as this one has come so often.
    pub(crate) fn notes_until_count(&self, last: &str, count: usize) -> Vec<String> {
        let notes = self.notes.notes.lock().unwrap();
        let missing =
            |notes: &mut Vec<String>| notes.iter().filter(|note| *note == last).count() < count;
        let (notes, wait) = self
            .notes
            .came
            .wait_timeout_while(notes, NOTE_WAIT_MAX, missing)
            .unwrap();
        assert!(!wait.timed_out(), "no {last:?} among {notes:?}");
        notes.clone()
    }
}

impl Drop for Mounted {
    /// Whatever a test did to the mount, nothing of it stays.
    fn drop(&mut self) {
        self.mount = None;
        let place = self.home.path().join("mount");
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        if table.contains(&format!(" {} ", place.display())) {
            run(
                "fusermount3",
                &["-u".as_ref(), "-z".as_ref(), place.as_os_str()],
            );
        }
    }
}

/// The options of every mount under test.
pub(crate) fn options() -> MountOptions {
    MountOptions {
        io_mode: io(),
        ..MountOptions::default()
    }
}

/// The tests of a mount are compiled twice: in `mount_direct` for the path that needs no privilege,
/// elsewhere for the best one.
pub(crate) fn io() -> IoMode {
    if env!("CARGO_CRATE_NAME") == "mount_direct" {
        IoMode::Direct
    } else {
        IoMode::Auto
    }
}

/// For mounts whose notes nobody reads.
pub(crate) fn silent() -> impl ChangeListener {
    Shared(Arc::default())
}

struct Shared(Arc<Recorder>);

impl Shared {
    fn note(&self, note: String) {
        self.0.notes.lock().unwrap().push(note);
        self.0.came.notify_all();
    }
}

impl ChangeListener for Shared {
    fn opened_for_write(&self, _: FileId, path: &LibraryPath) {
        self.note(format!("writing {path}"));
    }
    fn closed_after_write(&self, _: FileId, path: &LibraryPath) {
        self.note(format!("written {path}"));
    }
    fn changed(&self, _: FileId, path: &LibraryPath) {
        assert!(path.as_str() != "panic", "a fault of ours, made for a test");
        self.note(format!("touched {path}"));
    }
    fn file_renamed(
        &self,
        _: FileId,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<FileId>,
    ) {
        let over = if replaced.is_some() {
            " over another"
        } else {
            ""
        };
        self.note(format!("renamed {from} to {to}{over}"));
    }
    fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath) {
        self.note(format!("renamed folder {from} to {to}"));
    }
    fn exchanged(&self, one: &LibraryPath, other: &LibraryPath) {
        self.note(format!("exchanged {one} and {other}"));
    }
    fn removed(&self, _: FileId, path: &LibraryPath) {
        self.note(format!("removed {path}"));
    }
    fn status(&self, _: FileId, _: &LibraryPath) -> FileStatus {
        FileStatus {
            state: BackupState::Pending,
            fingerprint: None,
            progress: None,
            why: None,
        }
    }
}

/// Waits for what the kernel is told without being asked.
#[track_caller]
pub(crate) fn soon(what: &str, is_so: impl Fn() -> bool) {
    let until = std::time::Instant::now() + NOTE_WAIT_MAX;
    while !is_so() {
        assert!(std::time::Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&OsStr]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The errno of what must fail.
pub(crate) fn errno<T: std::fmt::Debug>(outcome: io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

/// An outcome that can be compared: its errors as the numbers that programs know, 0 for one that
/// Rust's library found by itself.
pub(crate) fn numbered<T, E: Into<io::Error>>(outcome: Result<T, E>) -> Result<T, i32> {
    outcome.map_err(|error| error.into().raw_os_error().unwrap_or_default())
}

pub(crate) fn xattr(path: &Path, name: &str) -> rustix::io::Result<String> {
    let mut value = vec![0; 1024];
    let size = rustix::fs::getxattr(path, name, &mut value)?;
    value.truncate(size);
    Ok(String::from_utf8(value).unwrap())
}
