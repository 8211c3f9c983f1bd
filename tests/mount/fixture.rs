//! A mount for one test, unmounted when the test ends, however it ends.

#[expect(
    dead_code,
    reason = "read-only mappings are for the end-to-end tests, which share this file"
)]
pub(crate) mod mapping;
pub(crate) mod rounds;

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heirloom::intake::{BackupState, FileStatus};
use heirloom::journal::FileId;
use heirloom::mount::{ChangeListener, IoMode, Mount, MountError, MountOptions};
use heirloom::spool::Spool;
use heirloom_protocol::LibraryPath;
use parking_lot::{Condvar, Mutex};

/// How long an event may take to arrive: the kernel does not wait for a release.
const EVENT_WAIT_MAX: Duration = Duration::from_secs(20);

/// A mount, its spool and a plain directory to compare with, in a temporary folder.
pub(crate) struct TestMount {
    // Dropped in this order: the mount goes before the directories do.
    mount: Option<Mount>,
    events: Arc<EventLog>,
    home: tempfile::TempDir,
}

/// The events that the mount reported, as text; it takes the place of intake.
#[derive(Default)]
struct EventLog {
    events: Mutex<Vec<String>>,
    arrived: Condvar,
}

impl TestMount {
    /// Mounts an empty spool.
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("mount")).unwrap();
        let mut this = Self {
            mount: None,
            events: Arc::default(),
            home,
        };
        this.mount()
            .expect("FUSE works here; else install fuse3 and allow /dev/fuse");
        this
    }

    /// Mounts the spool, after [`Self::drop_mount`] or a crash.
    pub(crate) fn mount(&mut self) -> Result<(), MountError> {
        let spool = Spool::open(&self.home.path().join("spool"))?;
        self.mount = Some(Mount::start(
            &self.home.path().join("mount"),
            spool,
            EventRecorder(Arc::clone(&self.events)),
            options(),
        )?);
        Ok(())
    }

    pub(crate) fn handle(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    /// Unmounts, waits for the end and mounts again.
    pub(crate) fn remount(&mut self) {
        // Lazily: another test may be starting a program at this moment, and until its exec that
        // child holds the descriptors that we have just closed.
        self.handle().unmount_lazily().unwrap();
        self.handle().wait();
        self.mount = None;
        self.mount().unwrap();
    }

    pub(crate) fn drop_mount(&mut self) {
        self.mount = None;
    }

    /// The temporary folder with all of it.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A path in the mount.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.path().join("mount").join(name)
    }

    /// The same path in the spool.
    pub(crate) fn spool_path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.path().join("spool").join(name)
    }

    /// A path in an ordinary directory on the spool's disk, to compare with.
    pub(crate) fn plain_path(&self, name: impl AsRef<Path>) -> PathBuf {
        let plain = self.home.path().join("plain");
        std::fs::create_dir_all(&plain).unwrap();
        plain.join(name)
    }

    /// Does the same in an ordinary directory and in the mount, asserts that the results are equal,
    /// and returns them.
    #[track_caller]
    pub(crate) fn assert_like_plain_directory<T: PartialEq + Debug>(
        &self,
        act: impl Fn(&Path) -> T,
    ) -> T {
        let expected = act(&self.plain_path(""));
        assert_eq!(
            act(&self.path("")),
            expected,
            "the mount (left) and a plain directory (right) differ"
        );
        expected
    }

    /// All events so far, once `last` is among them.
    pub(crate) fn events_until(&self, last: &str) -> Vec<String> {
        self.events_until_count(last, 1)
    }

    /// All events so far, once `last` is among them `count` times.
    pub(crate) fn events_until_count(&self, last: &str, count: usize) -> Vec<String> {
        let mut events = self.events.events.lock();
        let wait = self.events.arrived.wait_while_for(
            &mut events,
            |events| events.iter().filter(|event| *event == last).count() < count,
            EVENT_WAIT_MAX,
        );
        assert!(!wait.timed_out(), "no {last:?} among {events:?}");
        events.clone()
    }
}

impl Drop for TestMount {
    /// Unmounts whatever the test left mounted.
    fn drop(&mut self) {
        self.mount = None;
        let mountpoint = self.home.path().join("mount");
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        if table.contains(&format!(" {} ", mountpoint.display())) {
            run(
                "fusermount3",
                &["-u".as_ref(), "-z".as_ref(), mountpoint.as_os_str()],
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

/// The I/O path under test. These tests are compiled twice: in `mount_direct` for the path that
/// needs no privilege, in `mount` for the best path of this machine.
pub(crate) fn io() -> IoMode {
    if env!("CARGO_CRATE_NAME") == "mount_direct" {
        IoMode::Direct
    } else {
        IoMode::Auto
    }
}

/// A listener for mounts whose events are not checked.
pub(crate) fn no_listener() -> impl ChangeListener {
    EventRecorder(Arc::default())
}

struct EventRecorder(Arc<EventLog>);

impl EventRecorder {
    fn record(&self, event: String) {
        self.0.events.lock().push(event);
        self.0.arrived.notify_all();
    }
}

impl ChangeListener for EventRecorder {
    fn opened_for_write(&self, _: FileId, path: &LibraryPath) {
        self.record(format!("writing {path}"));
    }
    fn closed_after_write(&self, _: FileId, path: &LibraryPath) {
        self.record(format!("written {path}"));
    }
    fn changed(&self, _: FileId, path: &LibraryPath) {
        assert!(path.as_str() != "panic", "a panic that a test asked for");
        self.record(format!("touched {path}"));
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
        self.record(format!("renamed {from} to {to}{over}"));
    }
    fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath) {
        self.record(format!("renamed folder {from} to {to}"));
    }
    fn exchanged(&self, one: &LibraryPath, other: &LibraryPath) {
        self.record(format!("exchanged {one} and {other}"));
    }
    fn removed(&self, _: FileId, path: &LibraryPath) {
        self.record(format!("removed {path}"));
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

/// Waits until a notification to the kernel has taken effect.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + EVENT_WAIT_MAX;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
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

/// The errno of a call that must fail.
pub(crate) fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

/// The result with its error as an errno, so that it can be compared; 0 for an error that Rust's
/// library raised by itself.
pub(crate) fn with_errno<T, E: Into<io::Error>>(result: Result<T, E>) -> Result<T, i32> {
    result.map_err(|error| error.into().raw_os_error().unwrap_or_default())
}

/// The value of an extended attribute, as text.
pub(crate) fn xattr(path: &Path, name: &str) -> rustix::io::Result<String> {
    let mut value = vec![0; 1024];
    let size = rustix::fs::getxattr(path, name, &mut value)?;
    value.truncate(size);
    Ok(String::from_utf8(value).unwrap())
}
