//! Files in a real mount behave as on any disk under the calls that programs make.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};

use super::fixture::{TestMount, errno, run};

#[test]
fn a_copied_photo_is_complete_in_the_mount_and_in_the_spool() {
    let mounted = TestMount::new();
    let bytes: Vec<u8> = (0..3_000_001_u32)
        .map(|count| (count % 251) as u8)
        .collect();
    let source = mounted.home().join("source.jpg");
    fs::write(&source, &bytes).unwrap();
    run(
        "cp",
        &[source.as_os_str(), mounted.path("a.jpg").as_os_str()],
    );
    assert!(fs::read(mounted.path("a.jpg")).unwrap() == bytes);
    assert!(fs::read(mounted.spool_path("a.jpg")).unwrap() == bytes);
    assert_eq!(
        mounted.events_until("written a.jpg"),
        ["writing a.jpg", "written a.jpg"]
    );
}

#[test]
fn cp_p_keeps_times_and_mode() {
    let mounted = TestMount::new();
    let source = mounted.home().join("source.jpg");
    fs::write(&source, "photo").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o640)).unwrap();
    run(
        "touch",
        &[
            "-d".as_ref(),
            "2019-05-04 03:02:01.123456789 UTC".as_ref(),
            source.as_os_str(),
        ],
    );
    run(
        "cp",
        &[
            "-p".as_ref(),
            source.as_os_str(),
            mounted.path("a.jpg").as_os_str(),
        ],
    );
    let (want, have) = (
        fs::metadata(&source).unwrap(),
        fs::metadata(mounted.path("a.jpg")).unwrap(),
    );
    assert_eq!(
        (have.mtime(), have.mtime_nsec(), have.mode()),
        (want.mtime(), want.mtime_nsec(), want.mode())
    );
    let spooled = fs::metadata(mounted.spool_path("a.jpg")).unwrap();
    assert_eq!(
        (spooled.mtime(), spooled.mtime_nsec()),
        (want.mtime(), want.mtime_nsec())
    );
}

#[test]
fn touch_sets_times_of_any_age() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.jpg"), "photo").unwrap();
    for (text, seconds, nanoseconds) in [
        ("1969-12-31 23:59:58.8 UTC", -2, 800_000_000),
        ("1826-01-01 00:00:00.25 UTC", -4_544_208_000, 250_000_000),
        ("2038-01-19 03:14:08 UTC", 2_147_483_648, 0),
    ] {
        run(
            "touch",
            &[
                "-d".as_ref(),
                text.as_ref(),
                mounted.path("a.jpg").as_os_str(),
            ],
        );
        let spooled = fs::metadata(mounted.spool_path("a.jpg")).unwrap();
        if spooled.mtime() == seconds {
            assert_eq!(spooled.mtime_nsec(), nanoseconds, "{text}");
        } else {
            // ext4 times begin in 1901: the mount must return the disk's error.
            assert!(seconds < -2_147_483_648, "{text}: {}", spooled.mtime());
        }
        let shown = fs::metadata(mounted.path("a.jpg")).unwrap();
        assert_eq!(
            (shown.mtime(), shown.mtime_nsec()),
            (spooled.mtime(), spooled.mtime_nsec()),
            "{text}"
        );
    }
}

#[test]
fn a_file_is_appended_truncated_and_extended() {
    let mounted = TestMount::new();
    let path = mounted.path("log");
    fs::write(&path, "one").unwrap();
    let mut one = fs::File::options().append(true).open(&path).unwrap();
    let mut two = fs::File::options().append(true).open(&path).unwrap();
    one.write_all(b"two").unwrap();
    two.write_all(b"three").unwrap();
    one.write_all(b"four").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "onetwothreefour");
    one.set_len(6).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "onetwo");
    rustix::fs::ftruncate(&two, 8).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"onetwo\0\0");
    fs::write(&path, "").unwrap();
    assert_eq!(fs::metadata(mounted.spool_path("log")).unwrap().len(), 0);
}

#[test]
fn writes_are_visible_to_other_programs_at_once() {
    let mounted = TestMount::new();
    let path = mounted.path("a.jpg");
    let writer = fs::File::create(&path).unwrap();
    writer.write_all_at(b"first", 0).unwrap();
    let reader = fs::File::open(&path).unwrap();
    let mut bytes = [0; 5];
    reader.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"first");
    writer.write_all_at(b"other", 0).unwrap();
    reader.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"other", "past the cache, but not behind it");
    writer.write_all_at(b"longer", 3).unwrap();
    assert_eq!(reader.metadata().unwrap().len(), 9);
}

#[test]
fn a_hole_stays_a_hole() {
    let mounted = TestMount::new();
    let path = mounted.path("sparse");
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.write_all_at(b"end", 10 << 20).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)).unwrap(),
        10 << 20
    );
    file.seek(SeekFrom::Start((10 << 20) - 1)).unwrap();
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\0end");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 11 << 20).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 11 << 20);
}

#[test]
fn a_removed_file_is_usable_while_open() {
    let mounted = TestMount::new();
    let path = mounted.path("a.jpg");
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.write_all(b"still here").unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists() && !mounted.spool_path("a.jpg").exists());
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.set_len(5).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still");
    file.sync_all().unwrap();
    drop(file);
    fs::write(&path, "new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn a_mapped_file_is_written_and_read() {
    // Linkers, databases and exiftool map files; here Python does.
    let mounted = TestMount::new();
    fs::write(mounted.path("a.bin"), vec![b'.'; 10_000]).unwrap();
    let script = "import mmap,sys; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); m[5000:5004]=b'here'; m.flush(); m.close()";
    run(
        "python3",
        &[
            "-c".as_ref(),
            script.as_ref(),
            mounted.path("a.bin").as_os_str(),
        ],
    );
    assert_eq!(
        &fs::read(mounted.spool_path("a.bin")).unwrap()[4999..5005],
        b".here."
    );
    assert_eq!(
        &fs::read(mounted.path("a.bin")).unwrap()[4999..5005],
        b".here."
    );
}

#[test]
fn fsync_reaches_the_disk_and_direct_and_synchronous_writes_work() {
    let mounted = TestMount::new();
    let file = fs::File::create(mounted.path("a.jpg")).unwrap();
    file.write_all_at(b"photo", 0).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    fs::File::open(mounted.path(""))
        .unwrap()
        .sync_all()
        .unwrap();
    let write = |path, flag| {
        fs::File::options()
            .write(true)
            .custom_flags(flag)
            .open(path)?
            .write_all_at(b"PHOTO", 0)
    };
    for flag in [libc::O_SYNC, libc::O_DSYNC] {
        write(mounted.path("a.jpg"), flag).unwrap();
    }
    // Five bytes are not a block: both the disk's answer and success are right.
    if let Err(error) = write(mounted.path("a.jpg"), libc::O_DIRECT) {
        assert_eq!(
            error.raw_os_error(),
            write(mounted.spool_path("a.jpg"), libc::O_DIRECT)
                .unwrap_err()
                .raw_os_error()
        );
    }
    assert_eq!(fs::read(mounted.spool_path("a.jpg")).unwrap(), b"PHOTO");
}

#[test]
fn exclusive_create_fails_on_existing_names() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.jpg"), "1").unwrap();
    let again = fs::File::options()
        .write(true)
        .create_new(true)
        .open(mounted.path("a.jpg"));
    assert_eq!(errno(again), libc::EEXIST);
}

#[test]
fn hard_links_and_special_files_are_refused_and_symbolic_links_kept() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.jpg"), "photo").unwrap();
    assert_eq!(
        errno(fs::hard_link(mounted.path("a.jpg"), mounted.path("b.jpg"))),
        libc::EPERM
    );
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        mounted.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    );
    assert_eq!(fifo.unwrap_err().raw_os_error(), libc::EPERM);
    symlink("a.jpg", mounted.path("link")).unwrap();
    assert_eq!(fs::read_to_string(mounted.path("link")).unwrap(), "photo");
    assert_eq!(
        fs::read_link(mounted.spool_path("link")).unwrap().to_str(),
        Some("a.jpg")
    );
}

#[test]
fn user_xattrs_are_kept_and_heirloom_xattrs_can_be_read() {
    let mounted = TestMount::new();
    let path = mounted.path("a.jpg");
    fs::write(&path, "photo").unwrap();
    rustix::fs::setxattr(
        &path,
        "user.xdg.tags",
        b"holiday",
        rustix::fs::XattrFlags::CREATE,
    )
    .unwrap();
    let twice = rustix::fs::setxattr(
        &path,
        "user.xdg.tags",
        b"again",
        rustix::fs::XattrFlags::CREATE,
    );
    assert_eq!(twice.unwrap_err().raw_os_error(), libc::EEXIST);
    assert_eq!(
        super::fixture::xattr(&path, "user.xdg.tags").unwrap(),
        "holiday"
    );
    assert_eq!(
        super::fixture::xattr(&mounted.spool_path("a.jpg"), "user.xdg.tags").unwrap(),
        "holiday"
    );
    assert_eq!(
        super::fixture::xattr(&path, "user.heirloom.state").unwrap(),
        "pending"
    );
    assert_eq!(
        super::fixture::xattr(&path, "user.heirloom.error")
            .unwrap_err()
            .raw_os_error(),
        libc::ENODATA
    );
    assert_eq!(
        super::fixture::xattr(&path, "security.capability")
            .unwrap_err()
            .raw_os_error(),
        libc::EOPNOTSUPP
    );
    let ours = rustix::fs::setxattr(
        &path,
        "user.heirloom.state",
        b"backed_up",
        rustix::fs::XattrFlags::empty(),
    );
    assert_eq!(ours.unwrap_err().raw_os_error(), libc::EPERM);
    run(
        "cp",
        &[
            "-a".as_ref(),
            path.as_os_str(),
            mounted.path("b.jpg").as_os_str(),
        ],
    );
    assert_eq!(
        super::fixture::xattr(&mounted.path("b.jpg"), "user.xdg.tags").unwrap(),
        "holiday"
    );
    rustix::fs::removexattr(&path, "user.xdg.tags").unwrap();
    assert_eq!(
        super::fixture::xattr(&path, "user.xdg.tags")
            .unwrap_err()
            .raw_os_error(),
        libc::ENODATA
    );
}

#[test]
fn the_write_state_of_a_file_is_neither_shown_nor_copied() {
    let mounted = TestMount::new();
    let mark = |path: std::path::PathBuf| super::fixture::xattr(&path, "user.heirloom.mark");
    fs::write(mounted.path("a.jpg"), "photo").unwrap();
    mounted.events_until("written a.jpg");
    assert!(mark(mounted.spool_path("a.jpg")).is_ok());
    assert_eq!(
        mark(mounted.path("a.jpg")).unwrap_err().raw_os_error(),
        libc::ENODATA
    );
    run(
        "cp",
        &[
            "-a".as_ref(),
            mounted.path("a.jpg").as_os_str(),
            mounted.path("b.jpg").as_os_str(),
        ],
    );
}

#[test]
fn access_answers_as_the_disk_does() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.sh"), "#!/bin/sh\nexit 0\n").unwrap();
    let access = |wanted| rustix::fs::access(mounted.path("a.sh"), wanted);
    assert!(access(rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok());
    assert_eq!(
        access(rustix::fs::Access::EXEC_OK)
            .unwrap_err()
            .raw_os_error(),
        libc::EACCES
    );
    fs::set_permissions(mounted.path("a.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(access(rustix::fs::Access::EXEC_OK).is_ok());
    run(mounted.path("a.sh").to_str().unwrap(), &[]);
}
