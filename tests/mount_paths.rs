//! Whichever way reads and writes take, programs see one file: several handles of it, files made
//! ahead, files in use while they are written.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

mod mounted;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use heirloom::mount::{IoMode, IoPath};
use mounted::Mounted;

/// Whether we have `CAP_SYS_ADMIN` (bit 21) in the first user namespace, where all numbers mean
/// themselves.
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

/// More than are made ahead.
const MANY: usize = 1500;

#[test]
fn who_asks_for_the_direct_path_gets_it_and_who_may_not_pass_files_through_too() {
    let mounted = Mounted::new();
    let may_pass = administers_the_system();
    let expected = match mounted::io() {
        IoMode::Auto if may_pass => IoPath::Passthrough,
        IoMode::Auto | IoMode::Direct => IoPath::Direct,
    };
    assert_eq!(mounted.handle().io_path(), expected);
}

#[test]
fn many_files_made_at_once_are_each_as_they_were_asked_for() {
    let mounted = Mounted::new();
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
                        .open(mounted.at(count.to_string()))
                        .unwrap();
                    file.write_all(count.to_string().as_bytes()).unwrap();
                }
            });
        }
    });
    for count in 0..MANY {
        let path = mounted.at(count.to_string());
        assert_eq!(fs::read_to_string(&path).unwrap(), count.to_string());
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o777,
            if count % 2 == 0 { 0o644 } else { 0o600 },
            "{count}"
        );
    }
    assert_eq!(
        fs::read_dir(mounted.spooled("")).unwrap().count(),
        MANY,
        "and nothing else is there"
    );
}

#[test]
fn a_file_made_ahead_has_the_time_at_which_it_was_made() {
    let mounted = Mounted::new();
    fs::write(mounted.at("first.jpg"), "1").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let before = SystemTime::now() - Duration::from_millis(20);
    File::create(mounted.at("empty.jpg")).unwrap();
    assert!(
        fs::metadata(mounted.at("empty.jpg"))
            .unwrap()
            .modified()
            .unwrap()
            >= before
    );
}

#[test]
fn all_handles_of_a_file_see_the_same_bytes() {
    let mounted = Mounted::new();
    let path = mounted.at("a.jpg");
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
fn size_and_time_are_right_while_a_file_is_written() {
    let mounted = Mounted::new();
    let path = mounted.at("a.jpg");
    let mut file = File::create(&path).unwrap();
    for round in 1..50_u64 {
        file.write_all(&[7; 1000]).unwrap();
        let (shown, spooled) = (
            fs::metadata(&path).unwrap(),
            fs::metadata(mounted.spooled("a.jpg")).unwrap(),
        );
        assert_eq!(shown.len(), round * 1000);
        assert_eq!(
            (shown.mtime(), shown.mtime_nsec()),
            (spooled.mtime(), spooled.mtime_nsec())
        );
    }
}

#[test]
fn what_was_mapped_and_written_is_dated_when_it_is_closed() {
    let mounted = Mounted::new();
    let path = mounted.at("a.bin");
    fs::write(&path, vec![b'.'; 10_000]).unwrap();
    fs::metadata(&path).unwrap();
    let script = "import mmap,sys,time; time.sleep(0.05); f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); \
                  m[5000:5004]=b'here'; m.flush(); m.close()";
    mounted::run(
        "python3",
        &["-c".as_ref(), script.as_ref(), path.as_os_str()],
    );
    mounted.notes_until("written a.bin");
    // Told once by its first writer and once by this one; the kernel hears of the time after the
    // note.
    let right = || {
        let (shown, spooled) = (
            fs::metadata(&path).unwrap(),
            fs::metadata(mounted.spooled("a.bin")).unwrap(),
        );
        (shown.mtime(), shown.mtime_nsec()) == (spooled.mtime(), spooled.mtime_nsec())
    };
    mounted::soon("the time of the last write is shown", right);
}

#[test]
fn what_is_set_inherited_and_asked_of_a_folder_holds_for_files_made_ahead() {
    let mounted = Mounted::new();
    fs::create_dir(mounted.at("shared")).unwrap();
    fs::set_permissions(mounted.at("shared"), fs::Permissions::from_mode(0o2775)).unwrap();
    if std::os::unix::fs::chown(mounted.at("shared"), None, Some(12)).is_err() {
        // Nobody but the administrator has groups to give away; the rest is the same for all.
        return;
    }
    fs::write(mounted.at("shared/a.jpg"), "photo").unwrap();
    assert_eq!(fs::metadata(mounted.at("shared/a.jpg")).unwrap().gid(), 12);
}

#[test]
fn a_name_in_a_folder_that_is_gone_is_refused_as_that() {
    let mounted = Mounted::new();
    fs::create_dir(mounted.at("folder")).unwrap();
    let folder = File::open(mounted.at("folder")).unwrap();
    fs::remove_dir(mounted.at("folder")).unwrap();
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let made = rustix::fs::openat(&folder, "a.jpg", flags, rustix::fs::Mode::RWXU);
    assert_eq!(made.unwrap_err().raw_os_error(), libc::ENOENT);
    assert!(!mounted.at("a.jpg").exists());
}

#[test]
fn programs_write_in_the_disks_own_pieces_where_the_kernel_writes_and_in_larger_ones_elsewhere() {
    let mounted = Mounted::new();
    fs::write(mounted.at("f"), "x").unwrap();
    let wanted = match mounted.handle().io_path() {
        IoPath::Passthrough => fs::metadata(mounted.spooled("f")).unwrap().blksize(),
        IoPath::Direct => 1 << 20,
    };
    assert_eq!(fs::metadata(mounted.at("f")).unwrap().blksize(), wanted);
}
