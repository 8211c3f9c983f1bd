//! A mount starts cleanly or not at all, and ends when its owner or the kernel says so.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::fixture::{TestMount, run};
use heirloom::mount::{Mount, MountError};
use heirloom::spool::Spool;

/// How long a mount may take to end.
const END_WAIT_MAX: Duration = Duration::from_secs(20);

fn refusal(mountpoint: &Path) -> MountError {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(&home.path().join("spool")).unwrap();
    Mount::start(
        mountpoint,
        spool,
        super::fixture::no_listener(),
        super::fixture::options(),
    )
    .expect_err("refused")
}

fn mounts_on(mountpoint: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .filter(|line| line.split(' ').nth(4) == mountpoint.to_str())
        .count()
}

/// Fails if the mount does not end in time.
fn wait_for_end(mounted: &TestMount) {
    std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel();
        scope.spawn(move || {
            mounted.handle().wait();
            ended.send(()).unwrap();
        });
        end.recv_timeout(END_WAIT_MAX).expect("the mount ends");
    });
}

#[test]
fn a_mountpoint_must_be_an_empty_directory_that_exists() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    assert!(matches!(
        refusal(&at("missing")),
        MountError::Missing { .. }
    ));
    fs::write(at("file"), "").unwrap();
    assert!(matches!(
        refusal(&at("file")),
        MountError::NotADirectory { .. }
    ));
    fs::create_dir_all(at("full/of/things")).unwrap();
    let error = refusal(&at("full"));
    assert!(matches!(error, MountError::NotEmpty { .. }));
    assert!(
        error.to_string().contains("choose an empty directory"),
        "{error} says what to do"
    );
    assert_eq!(mounts_on(&at("full")), 0);
}

#[test]
fn nothing_is_mounted_over_a_mount() {
    let mounted = TestMount::new();
    assert!(matches!(
        refusal(&mounted.path("")),
        MountError::AlreadyMounted { .. }
    ));
    assert_eq!(mounts_on(&mounted.home().join("mount")), 1);
    fs::write(mounted.path("a.jpg"), "the first one still works").unwrap();
}

#[test]
fn the_spool_is_not_mounted_over_itself() {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(home.path()).unwrap();
    fs::create_dir(home.path().join("inside")).unwrap();
    let error = Mount::start(
        &home.path().join("inside"),
        spool,
        super::fixture::no_listener(),
        super::fixture::options(),
    )
    .unwrap_err();
    assert!(matches!(error, MountError::InsideSpool { .. }));
}

#[test]
fn the_mount_table_names_heirloom() {
    let mounted = TestMount::new();
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let place = mounted.home().join("mount");
    let line = table
        .lines()
        .find(|line| line.contains(place.to_str().unwrap()))
        .unwrap();
    assert!(line.starts_with("heirloom "), "{line}");
    assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
}

#[test]
fn unmount_fails_at_once_while_in_use() {
    let mounted = TestMount::new();
    let file = fs::File::create(mounted.path("a.jpg")).unwrap();
    let error = mounted.handle().unmount().unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(
        fs::metadata(mounted.path("a.jpg")).is_ok(),
        "a refused unmount changes nothing"
    );
    drop(file);
    mounted.events_until("written a.jpg");
    mounted.handle().unmount().unwrap();
    mounted.handle().unmount().expect("once more is nothing");
    assert!(!mounted.path("a.jpg").exists() && mounted.spool_path("a.jpg").exists());
}

#[test]
fn a_lazy_unmount_lets_open_files_finish() {
    let mounted = TestMount::new();
    let mut file = fs::File::create(mounted.path("a.jpg")).unwrap();
    mounted.handle().unmount_lazily().unwrap();
    assert!(!mounted.path("a.jpg").exists());
    std::io::Write::write_all(&mut file, b"late").unwrap();
    drop(file);
    wait_for_end(&mounted);
    assert_eq!(
        mounted.events_until("written a.jpg"),
        ["writing a.jpg", "written a.jpg"]
    );
    assert_eq!(fs::read(mounted.spool_path("a.jpg")).unwrap(), b"late");
}

#[test]
fn a_photo_copied_just_before_the_unmount_is_reported_as_written() {
    for round in 0..20 {
        let mounted = TestMount::new();
        fs::write(mounted.path("a.jpg"), "photo").unwrap();
        mounted.handle().unmount_lazily().unwrap();
        wait_for_end(&mounted);
        assert_eq!(
            mounted.events_until("written a.jpg"),
            ["writing a.jpg", "written a.jpg"],
            "round {round}"
        );
    }
}

#[test]
fn fusermount_ends_the_mount() {
    let mounted = TestMount::new();
    run(
        "fusermount3",
        &["-u".as_ref(), mounted.home().join("mount").as_os_str()],
    );
    wait_for_end(&mounted);
}

#[test]
fn a_dropped_mount_is_gone_even_if_in_use() {
    let mut mounted = TestMount::new();
    let file = fs::File::create(mounted.path("a.jpg")).unwrap();
    mounted.drop_mount();
    assert_eq!(mounts_on(&mounted.home().join("mount")), 0);
    drop(file);
}

#[test]
fn a_panic_is_answered_with_eio_and_the_mount_goes_on() {
    let mounted = TestMount::new();
    let regular = rustix::fs::FileType::RegularFile;
    let make = |name| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            mounted.path(name),
            regular,
            rustix::fs::Mode::RWXU,
            0,
        )
    };
    for _ in 0..10 {
        assert_eq!(make("panic").unwrap_err().raw_os_error(), libc::EIO);
        fs::remove_file(mounted.spool_path("panic")).unwrap();
    }
    make("a.jpg").unwrap();
    fs::write(mounted.path("a.jpg"), "photo").unwrap();
    assert_eq!(fs::read_to_string(mounted.path("a.jpg")).unwrap(), "photo");
}
