//! Names in a real mount behave as on any disk: folders, renames and listings.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::fixture::{TestMount, errno, run};

#[test]
fn a_save_by_rename_replaces_the_old_photo() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.jpg"), "old").unwrap();
    let mut reader = fs::File::open(mounted.path("a.jpg")).unwrap();
    fs::write(mounted.path(".a.jpg.tmp"), "new").unwrap();
    fs::rename(mounted.path(".a.jpg.tmp"), mounted.path("a.jpg")).unwrap();
    assert_eq!(fs::read_to_string(mounted.path("a.jpg")).unwrap(), "new");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text, "old", "whoever had the old one open keeps it");
    assert!(!mounted.path(".a.jpg.tmp").exists());
    mounted.events_until("renamed .a.jpg.tmp to a.jpg over another");
}

#[test]
fn a_file_renamed_while_open_is_still_the_same_file() {
    let mounted = TestMount::new();
    fs::create_dir(mounted.path("folder")).unwrap();
    let mut file = fs::File::create(mounted.path("a.part")).unwrap();
    file.write_all(b"one").unwrap();
    fs::rename(mounted.path("a.part"), mounted.path("folder/a.jpg")).unwrap();
    fs::rename(mounted.path("folder"), mounted.path("2026")).unwrap();
    file.write_all(b"two").unwrap();
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    drop(file);
    mounted.events_until("written 2026/a.jpg");
    assert_eq!(
        fs::read_to_string(mounted.spool_path("2026/a.jpg")).unwrap(),
        "onetwo"
    );
    assert_eq!(
        fs::metadata(mounted.path("2026/a.jpg")).unwrap().mode() & 0o777,
        0o600
    );
}

#[test]
fn rename_flags_are_honoured() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let mounted = TestMount::new();
    fs::write(mounted.path("one"), "1").unwrap();
    fs::write(mounted.path("two"), "2").unwrap();
    let rename = |flags| renameat_with(CWD, mounted.path("one"), CWD, mounted.path("two"), flags);
    assert_eq!(
        rename(RenameFlags::NOREPLACE).unwrap_err().raw_os_error(),
        libc::EEXIST
    );
    rename(RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(mounted.path("one")).unwrap(), "2");
    assert_eq!(fs::read_to_string(mounted.spool_path("two")).unwrap(), "1");
    assert_eq!(
        rename(RenameFlags::WHITEOUT).unwrap_err().raw_os_error(),
        libc::EINVAL
    );
}

#[test]
fn mv_and_rm_work_on_whole_trees() {
    let mounted = TestMount::new();
    fs::create_dir_all(mounted.path("a/b/c")).unwrap();
    for name in ["a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"] {
        fs::write(mounted.path(name), name).unwrap();
    }
    run(
        "mv",
        &[mounted.path("a").as_os_str(), mounted.path("z").as_os_str()],
    );
    assert_eq!(
        fs::read_to_string(mounted.path("z/b/c/3.jpg")).unwrap(),
        "a/b/c/3.jpg"
    );
    run(
        "cp",
        &[
            "-r".as_ref(),
            mounted.path("z").as_os_str(),
            mounted.path("y").as_os_str(),
        ],
    );
    run(
        "diff",
        &[
            "-r".as_ref(),
            mounted.path("y").as_os_str(),
            mounted.spool_path("z").as_os_str(),
        ],
    );
    assert_eq!(errno(fs::remove_dir(mounted.path("z"))), libc::ENOTEMPTY);
    run("rm", &["-r".as_ref(), mounted.path("z").as_os_str()]);
    assert!(!mounted.spool_path("z").exists());
}

#[test]
fn a_listing_shows_unchanged_entries_exactly_once_while_others_change() {
    let mounted = TestMount::new();
    let stays: BTreeSet<String> = (0..1000).map(|count| format!("stays {count}")).collect();
    for name in &stays {
        fs::write(mounted.path(name), "1").unwrap();
    }
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let mounted = &mounted;
        scope.spawn(move || {
            for count in 0.. {
                if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    break;
                }
                fs::write(mounted.path(format!("comes {count}")), "1").unwrap();
                fs::remove_file(mounted.path(format!("comes {count}"))).unwrap();
            }
        });
        for _ in 0..10 {
            let mut names: Vec<_> = fs::read_dir(mounted.path(""))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.retain(|name| name.starts_with("stays"));
            names.sort();
            assert!(names.iter().eq(&stays), "{} names", names.len());
        }
        drop(stop);
    });
    // Reads attributes with the names (readdirplus), and removes while listing.
    run("ls", &["-l".as_ref(), mounted.path("").as_os_str()]);
    run(
        "find",
        &[
            mounted.path("").as_os_str(),
            "-type".as_ref(),
            "f".as_ref(),
            "-delete".as_ref(),
        ],
    );
    assert_eq!(fs::read_dir(mounted.spool_path("")).unwrap().count(), 0);
}

#[test]
fn names_within_the_limits_are_kept_and_others_refused() {
    let mounted = TestMount::new();
    let longest = "\u{e9}".repeat(127) + "x";
    assert_eq!(longest.len(), 255);
    fs::write(mounted.path(&longest), "fits").unwrap();
    assert_eq!(fs::read_to_string(mounted.path(&longest)).unwrap(), "fits");
    assert_eq!(
        errno(fs::write(mounted.path(longest + "y"), "")),
        libc::ENAMETOOLONG
    );
    let latin = OsStr::from_bytes(b"caf\xe9.jpg");
    assert_eq!(errno(fs::write(mounted.path(latin), "")), libc::EILSEQ);
    assert_eq!(errno(fs::create_dir(mounted.path(latin))), libc::EILSEQ);
    assert_eq!(
        errno(fs::rename(
            mounted.path("\u{e9}".repeat(127) + "x"),
            mounted.path(latin)
        )),
        libc::EILSEQ
    );
    for name in [
        "a\nb",
        " ",
        "-rf",
        "\\",
        "con",
        "\u{202e}gpj.exe",
        "\u{1f4f7}",
    ] {
        fs::write(mounted.path(name), name).unwrap();
        assert_eq!(fs::read_to_string(mounted.spool_path(name)).unwrap(), name);
    }
}

#[test]
fn inode_numbers_are_the_same_after_a_remount() {
    let mut mounted = TestMount::new();
    fs::create_dir(mounted.path("folder")).unwrap();
    fs::write(mounted.path("folder/a.jpg"), "photo").unwrap();
    let numbers = |mounted: &TestMount| {
        ["", "folder", "folder/a.jpg"].map(|name| fs::metadata(mounted.path(name)).unwrap().ino())
    };
    let before = numbers(&mounted);
    mounted.remount();
    assert_eq!(numbers(&mounted), before);
    assert_eq!(
        before[2],
        fs::metadata(mounted.spool_path("folder/a.jpg"))
            .unwrap()
            .ino()
    );
    assert_eq!(
        fs::read_to_string(mounted.path("folder/a.jpg")).unwrap(),
        "photo"
    );
}

#[test]
fn a_thousand_created_and_removed_files_are_never_confused() {
    // The disk reuses inode numbers of removed files while the kernel still knows the old files.
    let mounted = TestMount::new();
    for round in 0..1000 {
        let path = mounted.path(format!("{}.jpg", round % 3));
        let text = format!("photo {round}");
        fs::write(&path, &text).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        fs::remove_file(&path).unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn statfs_reports_the_free_space_of_the_spools_disk() {
    let mounted = TestMount::new();
    let (mount, spool) = (
        rustix::fs::statvfs(mounted.path("")).unwrap(),
        rustix::fs::statvfs(mounted.spool_path("")).unwrap(),
    );
    assert_eq!(
        (mount.f_blocks, mount.f_frsize, mount.f_files),
        (spool.f_blocks, spool.f_frsize, spool.f_files)
    );
    assert_eq!(mount.f_namemax, 255);
    let (shown, true_free) = (
        mount.f_bavail * mount.f_frsize,
        spool.f_bavail * spool.f_frsize,
    );
    assert!(
        shown.abs_diff(true_free) < spool.f_blocks * spool.f_frsize / 20,
        "{shown} and {true_free}"
    );
}
