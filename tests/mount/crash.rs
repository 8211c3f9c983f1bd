//! What programs wrote before a mount was killed is there afterwards, with the right write state.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::fixture::TestMount;
use heirloom::mount::{IoPath, Mount};
use heirloom::spool::{Spool, WriteState};

/// How often a kill is tried where its moment matters.
const ROUNDS: usize = 20;

/// A mount in a process of its own, to be killed.
struct Victim {
    child: Child,
    mounted: TestMount,
}

impl Victim {
    fn new() -> Self {
        let mut mounted = TestMount::new();
        mounted.drop_mount();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &sibling("child_process_to_kill"), "--nocapture"])
            .env(CRASH_IN, mounted.home())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines
                .map_while(Result::ok)
                .any(|line| line.contains(CRASH_READY)),
            "the child mounted"
        );
        Self { child, mounted }
    }

    fn kill(mut self) -> TestMount {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.mounted
    }
}

/// The write state that the next start will see.
fn write_state(mounted: &TestMount, name: &str) -> WriteState {
    let spool = Spool::open(&mounted.spool_path("")).unwrap();
    spool
        .marker()
        .write_state(&File::open(mounted.spool_path(name)).unwrap())
        .unwrap()
}

#[test]
fn a_mount_left_by_a_crash_is_cleaned_up_and_nothing_is_lost() {
    let victim = Victim::new();
    fs::write(victim.mounted.path("a.jpg"), "before the crash").unwrap();
    let mut mounted = victim.kill();
    assert_eq!(
        super::fixture::errno(fs::metadata(mounted.path("a.jpg"))),
        libc::ENOTCONN
    );
    mounted.mount().unwrap();
    assert_eq!(
        fs::read_to_string(mounted.path("a.jpg")).unwrap(),
        "before the crash"
    );
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = mounted.home().join("mount");
    assert_eq!(
        table
            .lines()
            .filter(|line| line.split(' ').nth(4) == place.to_str())
            .count(),
        1
    );
}

#[test]
fn a_photo_counts_as_complete_once_cp_returns() {
    for round in 0..ROUNDS {
        let victim = Victim::new();
        fs::write(victim.mounted.path("a.jpg"), "photo").unwrap();
        let mounted = victim.kill();
        assert_eq!(
            write_state(&mounted, "a.jpg"),
            WriteState::Complete,
            "round {round}"
        );
    }
}

#[test]
fn half_a_photo_counts_as_incomplete_until_its_program_has_written_it_all() {
    let victim = Victim::new();
    let mut file = File::create(victim.mounted.path("a.jpg")).unwrap();
    file.write_all(b"half a ").unwrap();
    let mut mounted = victim.kill();
    let (meanwhile, goes_on) = (
        write_state(&mounted, "a.jpg"),
        file.write_all(b"photo").is_ok(),
    );
    drop(file);
    let at_last = write_state(&mounted, "a.jpg");
    mounted.mount().unwrap();
    match mounted.handle().io_path() {
        // The kernel went on without the client.
        IoPath::Passthrough => {
            assert_eq!(
                (meanwhile, goes_on, at_last),
                (WriteState::InUse, true, WriteState::Complete)
            );
            assert_eq!(
                fs::read_to_string(mounted.path("a.jpg")).unwrap(),
                "half a photo"
            );
        }
        IoPath::Direct => {
            assert_eq!(
                (meanwhile, goes_on, at_last),
                (WriteState::Unfinished, false, WriteState::Unfinished)
            );
        }
    }
}

/// The full path of a test in this module, as the test program expects it.
fn sibling(test: &str) -> String {
    match module_path!().split_once("::") {
        Some((_, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

const CRASH_IN: &str = "HEIRLOOM_TEST_CRASH_IN";
const CRASH_READY: &str = "mounted and waiting for the end";

/// Not a test of its own: the process that the tests above kill.
#[test]
fn child_process_to_kill() {
    let Some(home) = std::env::var_os(CRASH_IN) else {
        return;
    };
    let home = Path::new(&home);
    let spool = Spool::open(&home.join("spool")).unwrap();
    let mount = Mount::start(
        &home.join("mount"),
        spool,
        super::fixture::no_listener(),
        super::fixture::options(),
    )
    .unwrap();
    println!("{CRASH_READY}");
    mount.wait();
}
