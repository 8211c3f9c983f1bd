//! Whichever I/O path reads and writes take, programs see one file: several handles, spare files,
//! and files in use while they are written.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use super::fixture::TestMount;
use heirloom::mount::{IoMode, IoPath};

/// Whether we have `CAP_SYS_ADMIN` (bit 21) in the initial user namespace.
fn administers_the_system() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rights = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    let users = fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_first = users.split_whitespace().eq(["0", "0", "4294967295"]);
    is_first && u64::from_str_radix(rights.trim(), 16).unwrap() & (1 << 21) != 0
}

/// More files than the pool of spare files has.
const MANY: usize = 1500;

#[test]
fn the_direct_path_is_used_on_request_and_without_privilege() {
    let mounted = TestMount::new();
    let may_pass = administers_the_system();
    let expected = match super::fixture::io() {
        IoMode::Auto if may_pass => IoPath::Passthrough,
        IoMode::Auto | IoMode::Direct => IoPath::Direct,
    };
    assert_eq!(mounted.handle().io_path(), expected);
}

#[test]
fn many_files_created_at_once_are_each_as_requested() {
    let mounted = TestMount::new();
    std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let mounted = &mounted;
            scope.spawn(move || {
                for count in (thread..MANY).step_by(3) {
                    let mode = if count % 2 == 0 { 0o644 } else { 0o600 };
                    let mut file = File::options()
                        .write(true)
                        .create_new(true)
                        .mode(mode)
                        .open(mounted.path(count.to_string()))
                        .unwrap();
                    file.write_all(count.to_string().as_bytes()).unwrap();
                }
            });
        }
    });
    for count in 0..MANY {
        let path = mounted.path(count.to_string());
        assert_eq!(fs::read_to_string(&path).unwrap(), count.to_string());
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o777,
            if count % 2 == 0 { 0o644 } else { 0o600 },
            "{count}"
        );
    }
    assert_eq!(
        fs::read_dir(mounted.spool_path("")).unwrap().count(),
        MANY,
        "and nothing else is there"
    );
}

#[test]
fn a_spare_file_has_the_time_at_which_it_was_created() {
    let mounted = TestMount::new();
    fs::write(mounted.path("first.jpg"), "1").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let before = SystemTime::now() - Duration::from_millis(20);
    File::create(mounted.path("empty.jpg")).unwrap();
    assert!(
        fs::metadata(mounted.path("empty.jpg"))
            .unwrap()
            .modified()
            .unwrap()
            >= before
    );
}

#[test]
fn all_handles_of_a_file_see_the_same_bytes() {
    let mounted = TestMount::new();
    let path = mounted.path("a.jpg");
    let first = File::create(&path).unwrap();
    let both = File::options().read(true).write(true).open(&path).unwrap();
    let reader = File::open(&path).unwrap();
    let mut appender = File::options().append(true).open(&path).unwrap();
    first.write_all_at(b"one", 0).unwrap();
    both.write_all_at(b"two", 3).unwrap();
    appender.write_all(b"three").unwrap();
    for handle in [&both, &reader] {
        let mut bytes = [0; 11];
        handle.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"onetwothree");
        assert_eq!(handle.metadata().unwrap().len(), 11);
    }
    drop((first, both));
    let late = File::options().read(true).write(true).open(&path).unwrap();
    late.set_len(3).unwrap();
    appender.write_all(b"!").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one!");
    assert_eq!(reader.metadata().unwrap().len(), 4);
}

#[test]
fn size_and_mtime_are_right_while_a_file_is_written() {
    let mounted = TestMount::new();
    let path = mounted.path("a.jpg");
    let mut file = File::create(&path).unwrap();
    for round in 1..50_u64 {
        file.write_all(&[7; 1000]).unwrap();
        let (shown, spooled) = (
            fs::metadata(&path).unwrap(),
            fs::metadata(mounted.spool_path("a.jpg")).unwrap(),
        );
        assert_eq!(shown.len(), round * 1000);
        assert_eq!(
            (shown.mtime(), shown.mtime_nsec()),
            (spooled.mtime(), spooled.mtime_nsec())
        );
    }
}

#[test]
fn a_mapped_write_updates_the_mtime_at_close() {
    let mounted = TestMount::new();
    let path = mounted.path("a.bin");
    fs::write(&path, vec![b'.'; 10_000]).unwrap();
    fs::metadata(&path).unwrap();
    let script = "import mmap,sys,time; time.sleep(0.05); f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); \
                  m[5000:5004]=b'here'; m.flush(); m.close()";
    super::fixture::run(
        "python3",
        &["-c".as_ref(), script.as_ref(), path.as_os_str()],
    );
    mounted.events_until("written a.bin");
    // Reported once by its first writer and once by this one; the kernel learns of the mtime after
    // the event.
    let right = || {
        let (shown, spooled) = (
            fs::metadata(&path).unwrap(),
            fs::metadata(mounted.spool_path("a.bin")).unwrap(),
        );
        (shown.mtime(), shown.mtime_nsec()) == (spooled.mtime(), spooled.mtime_nsec())
    };
    super::fixture::eventually("the time of the last write is shown", right);
}

#[test]
fn spare_files_get_the_mode_group_and_attributes_of_a_new_file() {
    let mounted = TestMount::new();
    fs::create_dir(mounted.path("shared")).unwrap();
    fs::set_permissions(mounted.path("shared"), fs::Permissions::from_mode(0o2775)).unwrap();
    if std::os::unix::fs::chown(mounted.path("shared"), None, Some(12)).is_err() {
        // Only root can give files to arbitrary groups; the rest is the same for everybody.
        return;
    }
    fs::write(mounted.path("shared/a.jpg"), "photo").unwrap();
    assert_eq!(
        fs::metadata(mounted.path("shared/a.jpg")).unwrap().gid(),
        12
    );
}

#[test]
fn creating_a_file_in_a_removed_folder_is_refused() {
    let mounted = TestMount::new();
    fs::create_dir(mounted.path("folder")).unwrap();
    let folder = File::open(mounted.path("folder")).unwrap();
    fs::remove_dir(mounted.path("folder")).unwrap();
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let made = rustix::fs::openat(&folder, "a.jpg", flags, rustix::fs::Mode::RWXU);
    assert_eq!(made.unwrap_err().raw_os_error(), libc::ENOENT);
    assert!(!mounted.path("a.jpg").exists());
}

#[test]
fn st_blksize_is_the_disks_on_passthrough_and_larger_on_the_direct_path() {
    let mounted = TestMount::new();
    fs::write(mounted.path("f"), "x").unwrap();
    let wanted = match mounted.handle().io_path() {
        IoPath::Passthrough => fs::metadata(mounted.spool_path("f")).unwrap().blksize(),
        IoPath::Direct => 1 << 20,
    };
    assert_eq!(fs::metadata(mounted.path("f")).unwrap().blksize(), wanted);
}
