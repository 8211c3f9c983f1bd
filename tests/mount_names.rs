//! A mounted directory keeps names as any disk would: folders, renames and listings, on a real
//! mount.

mod mounted;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use mounted::{Mounted, errno, run};

#[test]
fn a_save_by_rename_puts_the_new_photo_in_the_place_of_the_old() {
    let mounted = Mounted::new();
    fs::write(mounted.at("a.jpg"), "old").unwrap();
    let mut reader = fs::File::open(mounted.at("a.jpg")).unwrap();
    fs::write(mounted.at(".a.jpg.tmp"), "new").unwrap();
    fs::rename(mounted.at(".a.jpg.tmp"), mounted.at("a.jpg")).unwrap();
    assert_eq!(fs::read_to_string(mounted.at("a.jpg")).unwrap(), "new");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text, "old", "whoever had the old one open keeps it");
    assert!(!mounted.at(".a.jpg.tmp").exists());
    mounted.notes_until("renamed .a.jpg.tmp to a.jpg over another");
}

#[test]
fn a_file_renamed_while_open_is_still_the_same_file() {
    let mounted = Mounted::new();
    fs::create_dir(mounted.at("folder")).unwrap();
    let mut file = fs::File::create(mounted.at("a.part")).unwrap();
    file.write_all(b"one").unwrap();
    fs::rename(mounted.at("a.part"), mounted.at("folder/a.jpg")).unwrap();
    fs::rename(mounted.at("folder"), mounted.at("2026")).unwrap();
    file.write_all(b"two").unwrap();
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    drop(file);
    mounted.notes_until("written 2026/a.jpg");
    assert_eq!(
        fs::read_to_string(mounted.spooled("2026/a.jpg")).unwrap(),
        "onetwo"
    );
    assert_eq!(
        fs::metadata(mounted.at("2026/a.jpg")).unwrap().mode() & 0o777,
        0o600
    );
}

#[test]
fn flags_of_rename_are_honoured() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let mounted = Mounted::new();
    fs::write(mounted.at("one"), "1").unwrap();
    fs::write(mounted.at("two"), "2").unwrap();
    let rename = |flags| renameat_with(CWD, mounted.at("one"), CWD, mounted.at("two"), flags);
    assert_eq!(
        rename(RenameFlags::NOREPLACE).unwrap_err().raw_os_error(),
        libc::EEXIST
    );
    rename(RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(mounted.at("one")).unwrap(), "2");
    assert_eq!(fs::read_to_string(mounted.spooled("two")).unwrap(), "1");
    assert_eq!(
        rename(RenameFlags::WHITEOUT).unwrap_err().raw_os_error(),
        libc::EINVAL
    );
}

#[test]
fn mv_and_rm_work_on_whole_trees() {
    let mounted = Mounted::new();
    fs::create_dir_all(mounted.at("a/b/c")).unwrap();
    for name in ["a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"] {
        fs::write(mounted.at(name), name).unwrap();
    }
    run(
        "mv",
        &[mounted.at("a").as_os_str(), mounted.at("z").as_os_str()],
    );
    assert_eq!(
        fs::read_to_string(mounted.at("z/b/c/3.jpg")).unwrap(),
        "a/b/c/3.jpg"
    );
    run(
        "cp",
        &[
            "-r".as_ref(),
            mounted.at("z").as_os_str(),
            mounted.at("y").as_os_str(),
        ],
    );
    run(
        "diff",
        &[
            "-r".as_ref(),
            mounted.at("y").as_os_str(),
            mounted.spooled("z").as_os_str(),
        ],
    );
    assert_eq!(errno(fs::remove_dir(mounted.at("z"))), libc::ENOTEMPTY);
    run("rm", &["-r".as_ref(), mounted.at("z").as_os_str()]);
    assert!(!mounted.spooled("z").exists());
}

#[test]
fn a_listing_shows_what_stays_exactly_once_while_the_rest_changes() {
    let mounted = Mounted::new();
    let stays: BTreeSet<String> = (0..1000).map(|count| format!("stays {count}")).collect();
    for name in &stays {
        fs::write(mounted.at(name), "1").unwrap();
    }
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let mounted = &mounted;
        scope.spawn(move || {
            for count in 0.. {
                if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    break;
                }
                fs::write(mounted.at(format!("comes {count}")), "1").unwrap();
                fs::remove_file(mounted.at(format!("comes {count}"))).unwrap();
            }
        });
        for _ in 0..10 {
            let mut names: Vec<_> = fs::read_dir(mounted.at(""))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.retain(|name| name.starts_with("stays"));
            names.sort();
            assert!(names.iter().eq(&stays), "{} names", names.len());
        }
        drop(stop);
    });
    // Reads facts with the names (readdirplus), and removes while listing.
    run("ls", &["-l".as_ref(), mounted.at("").as_os_str()]);
    run(
        "find",
        &[
            mounted.at("").as_os_str(),
            "-type".as_ref(),
            "f".as_ref(),
            "-delete".as_ref(),
        ],
    );
    assert_eq!(fs::read_dir(mounted.spooled("")).unwrap().count(), 0);
}

#[test]
fn names_up_to_the_limits_are_kept_and_no_others() {
    let mounted = Mounted::new();
    let longest = "\u{e9}".repeat(127) + "x";
    assert_eq!(longest.len(), 255);
    fs::write(mounted.at(&longest), "fits").unwrap();
    assert_eq!(fs::read_to_string(mounted.at(&longest)).unwrap(), "fits");
    assert_eq!(
        errno(fs::write(mounted.at(longest + "y"), "")),
        libc::ENAMETOOLONG
    );
    let latin = OsStr::from_bytes(b"caf\xe9.jpg");
    assert_eq!(errno(fs::write(mounted.at(latin), "")), libc::EILSEQ);
    assert_eq!(errno(fs::create_dir(mounted.at(latin))), libc::EILSEQ);
    assert_eq!(
        errno(fs::rename(
            mounted.at("\u{e9}".repeat(127) + "x"),
            mounted.at(latin)
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
        fs::write(mounted.at(name), name).unwrap();
        assert_eq!(fs::read_to_string(mounted.spooled(name)).unwrap(), name);
    }
}

#[test]
fn numbers_are_the_same_after_a_remount() {
    let mut mounted = Mounted::new();
    fs::create_dir(mounted.at("folder")).unwrap();
    fs::write(mounted.at("folder/a.jpg"), "photo").unwrap();
    let numbers = |mounted: &Mounted| {
        ["", "folder", "folder/a.jpg"].map(|name| fs::metadata(mounted.at(name)).unwrap().ino())
    };
    let before = numbers(&mounted);
    mounted.remount();
    assert_eq!(numbers(&mounted), before);
    assert_eq!(
        before[2],
        fs::metadata(mounted.spooled("folder/a.jpg")).unwrap().ino()
    );
    assert_eq!(
        fs::read_to_string(mounted.at("folder/a.jpg")).unwrap(),
        "photo"
    );
}

#[test]
fn a_thousand_files_made_and_removed_again_are_never_mixed_up() {
    // The disk gives numbers of removed files to new ones while the kernel still knows the old.
    let mounted = Mounted::new();
    for round in 0..1000 {
        let path = mounted.at(format!("{}.jpg", round % 3));
        let text = format!("photo {round}");
        fs::write(&path, &text).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        fs::remove_file(&path).unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn the_free_space_is_the_spool_disks() {
    let mounted = Mounted::new();
    let (mount, spool) = (
        rustix::fs::statvfs(mounted.at("")).unwrap(),
        rustix::fs::statvfs(mounted.spooled("")).unwrap(),
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
