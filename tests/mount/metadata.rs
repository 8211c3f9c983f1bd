//! Metadata of files (modes, owners, times, inode numbers) is set and reported as in a plain
//! directory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirEntryExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::fixture::{TestMount, run, with_errno};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, StatxFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
    utimensat,
};

/// Mode, owner, group, links and size.
fn facts(path: &Path) -> (u32, u32, u32, u64, u64) {
    let found = fs::symlink_metadata(path).unwrap();
    // The size of a folder is the file system's own affair.
    let size = if found.is_dir() { 0 } else { found.len() };
    (found.mode(), found.uid(), found.gid(), found.nlink(), size)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), i32> {
    with_errno(fs::set_permissions(path, fs::Permissions::from_mode(mode)))
}

#[test]
fn times_are_kept_to_the_nanosecond_and_independently() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::write(root.join("file"), "1").unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        symlink("nowhere", root.join("link")).unwrap();
        let at = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let mut seen = Vec::new();
        for name in ["file", "folder", "link"] {
            let path = root.join(name);
            let mut set = |last_access, last_modification| {
                let times = Timestamps {
                    last_access,
                    last_modification,
                };
                utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
                let found = fs::symlink_metadata(&path).unwrap();
                seen.push((
                    found.atime(),
                    found.atime_nsec(),
                    found.mtime(),
                    found.mtime_nsec(),
                ));
            };
            set(at(1_000_000_000, 1), at(1_234_567_890, 123_456_789));
            set(at(0, UTIME_OMIT), at(-7, 999_999_999));
            set(at(1, 0), at(0, UTIME_OMIT));
        }
        let file = File::open(root.join("file")).unwrap();
        rustix::fs::futimens(
            &file,
            &Timestamps {
                last_access: at(5, 5),
                last_modification: at(6, 6),
            },
        )
        .unwrap();
        seen.push((
            0,
            0,
            file.metadata().unwrap().mtime(),
            file.metadata().unwrap().mtime_nsec(),
        ));
        seen
    });
    assert_eq!(seen[1], (1_000_000_000, 1, -7, 999_999_999));
}

#[test]
fn utime_now_sets_the_current_time() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.jpg"), "1").unwrap();
    run(
        "touch",
        &[
            "-d".as_ref(),
            "2001-01-01".as_ref(),
            mounted.path("a.jpg").as_os_str(),
        ],
    );
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(1);
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    utimensat(CWD, mounted.path("a.jpg"), &times, AtFlags::empty()).unwrap();
    let found = fs::metadata(mounted.path("a.jpg")).unwrap();
    assert!(found.modified().unwrap() > before && found.accessed().unwrap() > before);
}

#[test]
fn times_change_with_bytes_names_and_modes() {
    TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("d/a.jpg");
        fs::create_dir(root.join("d")).unwrap();
        let mut file = File::create(&path).unwrap();
        let old = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let mut moved = Vec::new();
        let mut after = |what: &str, act: &mut dyn FnMut()| {
            for path in [&path, &root.join("d")] {
                utimensat(
                    CWD,
                    path,
                    &Timestamps {
                        last_access: old,
                        last_modification: old,
                    },
                    AtFlags::empty(),
                )
                .unwrap();
            }
            let changed = |path: &Path| {
                (
                    fs::metadata(path).unwrap().ctime(),
                    fs::metadata(path).unwrap().ctime_nsec(),
                )
            };
            let before = changed(&path);
            // The disk's clock ticks a few hundred times a second.
            while std::fs::write(root.join("tick"), "").is_ok()
                && changed(&root.join("tick")) <= before
            {}
            act();
            let is_old = |path: &Path| fs::metadata(path).unwrap().mtime() == 1;
            moved.push((
                what.to_owned(),
                is_old(&path),
                is_old(&root.join("d")),
                changed(&path) > before,
            ));
        };
        after("nothing", &mut || {});
        after("write", &mut || file.write_all(b"123").unwrap());
        after("truncate", &mut || file.set_len(1).unwrap());
        // Kept open, it would be closed again by every child that another test starts meanwhile,
        // between fork and exec. On the direct path such a close changes the write state of a file
        // that is being written, and so its ctime, without the kernel's knowledge.
        drop(file);
        after("chmod", &mut || set_mode(&path, 0o640).unwrap());
        after("read", &mut || drop(fs::read(&path).unwrap()));
        after("make", &mut || fs::write(root.join("d/b"), "").unwrap());
        after("rename", &mut || {
            fs::rename(root.join("d/b"), root.join("d/c")).unwrap();
        });
        after("remove", &mut || fs::remove_file(root.join("d/c")).unwrap());
        after("rename itself", &mut || {
            fs::rename(&path, root.join("d/x")).unwrap();
            fs::rename(root.join("d/x"), &path).unwrap();
        });
        moved
    });
}

#[test]
fn every_bit_of_a_mode_is_kept_on_files_and_folders() {
    let mounted = TestMount::new();
    let seen = mounted.assert_like_plain_directory(|root| {
        fs::write(root.join("file"), "1").unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        symlink("file", root.join("link")).unwrap();
        let modes = [0o600, 0o444, 0o4755, 0o2755, 0o1777, 0o7777, 0o700];
        let kept: Vec<_> = modes
            .into_iter()
            .flat_map(|mode| {
                ["file", "folder"]
                    .map(|name| (set_mode(&root.join(name), mode), facts(&root.join(name))))
            })
            .collect();
        let open = File::open(root.join("file")).unwrap();
        open.set_permissions(fs::Permissions::from_mode(0o620))
            .unwrap();
        (
            kept,
            set_mode(&root.join("link"), 0o640),
            facts(&root.join("file")),
            facts(&root.join("link")),
        )
    });
    assert_eq!(
        (seen.2.0 & 0o7777, seen.0[10].1.0 & 0o7777),
        (0o640, 0o7777)
    );
}

#[test]
fn owners_can_be_changed_as_far_as_the_caller_may() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("a.sh");
        fs::write(&path, "1").unwrap();
        symlink("a.sh", root.join("link")).unwrap();
        set_mode(&path, 0o6755).unwrap();
        let own = fs::metadata(&path).unwrap();
        let as_it_is = with_errno(std::os::unix::fs::chown(
            &path,
            Some(own.uid()),
            Some(own.gid()),
        ));
        let mode_after = facts(&path);
        let given_away = with_errno(std::os::unix::fs::chown(&path, Some(12_345), None));
        let group = with_errno(std::os::unix::fs::chown(&path, None, Some(23_456)));
        let link = with_errno(std::os::unix::fs::lchown(
            root.join("link"),
            Some(12_345),
            None,
        ));
        (
            as_it_is,
            mode_after,
            given_away,
            group,
            link,
            facts(&path),
            facts(&root.join("link")),
        )
    });
    assert_eq!(
        (seen.0, seen.1.0 & 0o7777),
        (Ok(()), 0o755),
        "a change of owner takes set-user-id away"
    );
}

#[test]
fn setgid_folders_pass_their_group_on() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let folder = root.join("shared");
        fs::create_dir(&folder).unwrap();
        // Only root may give a folder to a group that is not its own.
        let given = with_errno(std::os::unix::fs::chown(&folder, None, Some(23_456)));
        set_mode(&folder, 0o2775).unwrap();
        fs::create_dir(folder.join("below")).unwrap();
        fs::write(folder.join("file"), "1").unwrap();
        rustix::fs::mknodat(
            CWD,
            folder.join("node"),
            FileType::RegularFile,
            Mode::RWXU,
            0,
        )
        .unwrap();
        symlink("file", folder.join("link")).unwrap();
        (
            given,
            ["", "below", "file", "node", "link"].map(|name| facts(&folder.join(name))),
        )
    });
    assert_eq!(seen.1[1].0 & 0o7777, 0o2755);
}

#[test]
fn the_sticky_bit_of_a_folder_is_kept_and_does_not_hinder_its_owner() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let folder = root.join("open to all");
        rustix::fs::mkdir(&folder, Mode::from_raw_mode(0o1755)).unwrap();
        let made = facts(&folder);
        set_mode(&folder, 0o1777).unwrap();
        fs::write(folder.join("a"), "1").unwrap();
        fs::rename(folder.join("a"), folder.join("b")).unwrap();
        fs::remove_file(folder.join("b")).unwrap();
        (made, facts(&folder))
    });
    assert_eq!((seen.0.0 & 0o7777, seen.1.0 & 0o7777), (0o1755, 0o1777));
}

#[test]
fn new_files_obey_the_callers_umask() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let script = "umask 027; mkdir folder; : >file; mkfifo fifo || exit 0";
        let made = std::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(root)
            .output()
            .unwrap();
        assert!(made.status.success());
        (facts(&root.join("folder")).0, facts(&root.join("file")).0)
    });
    assert_eq!((seen.0 & 0o7777, seen.1 & 0o7777), (0o750, 0o640));
}

#[test]
fn the_link_count_of_a_folder_counts_its_subfolders() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir(root.join("a/d")).unwrap();
        let links = |name: &str| fs::metadata(root.join(name)).unwrap().nlink();
        let before = links("a");
        fs::rename(root.join("a/b/c"), root.join("a/c")).unwrap();
        let after = (links("a"), links("a/b"));
        fs::remove_dir(root.join("a/d")).unwrap();
        (before, after, links("a"))
    });
    assert_eq!(seen, (4, (5, 2), 4));
}

#[test]
fn inode_numbers_survive_renames_and_agree_in_every_call() {
    let mounted = TestMount::new();
    fs::create_dir(mounted.path("d")).unwrap();
    let file = File::create(mounted.path("d/a.jpg")).unwrap();
    let number = file.metadata().unwrap().ino();
    let listed = |name: &str| {
        let mut entries = fs::read_dir(mounted.path("d")).unwrap().map(Result::unwrap);
        entries
            .find(|entry| entry.file_name() == name)
            .unwrap()
            .ino()
    };
    assert_eq!(
        (number, listed("a.jpg")),
        (
            fs::metadata(mounted.spool_path("d/a.jpg")).unwrap().ino(),
            number
        )
    );
    fs::rename(mounted.path("d/a.jpg"), mounted.path("d/b.jpg")).unwrap();
    fs::write(mounted.path("d/a.jpg"), "another").unwrap();
    assert_eq!(
        (
            listed("b.jpg"),
            fs::metadata(mounted.path("d/b.jpg")).unwrap().ino()
        ),
        (number, number)
    );
    assert_ne!(listed("a.jpg"), number);
    let device = |name: &str| fs::metadata(mounted.path(name)).unwrap().dev();
    assert_eq!((device("d"), device("d/b.jpg")), (device(""), device("")));
}

#[test]
fn a_birth_time_is_reported_correctly_or_not_at_all() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.jpg"), "1").unwrap();
    let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let ask = |path: &Path| rustix::fs::statx(CWD, path, AtFlags::STATX_FORCE_SYNC, flags).unwrap();
    let (reported, actual) = (
        ask(&mounted.path("a.jpg")),
        ask(&mounted.spool_path("a.jpg")),
    );
    assert_eq!(
        (reported.stx_size, reported.stx_mtime.tv_nsec),
        (actual.stx_size, actual.stx_mtime.tv_nsec)
    );
    if StatxFlags::from_bits_retain(reported.stx_mask).contains(StatxFlags::BTIME) {
        assert_eq!(
            (reported.stx_btime.tv_sec, reported.stx_btime.tv_nsec),
            (actual.stx_btime.tv_sec, actual.stx_btime.tv_nsec)
        );
    }
}

#[test]
fn mknod_creates_regular_files_only() {
    let mounted = TestMount::new();
    let make = |name: &str, kind| {
        with_errno(rustix::fs::mknodat(
            CWD,
            mounted.path(name),
            kind,
            Mode::RUSR | Mode::WUSR,
            0,
        ))
    };
    for kind in [
        FileType::Fifo,
        FileType::Socket,
        FileType::CharacterDevice,
        FileType::BlockDevice,
    ] {
        assert_eq!(make("special", kind), Err(libc::EPERM), "{kind:?}");
        assert!(!mounted.path("special").exists() && !mounted.spool_path("special").exists());
    }
    assert_eq!(
        with_errno(std::os::unix::net::UnixListener::bind(
            mounted.path("socket")
        ))
        .map(drop),
        Err(libc::EPERM)
    );
    make("regular", FileType::RegularFile).unwrap();
    assert_eq!(make("regular", FileType::RegularFile), Err(libc::EEXIST));
    assert_eq!(facts(&mounted.path("regular")).0, libc::S_IFREG | 0o600);
    fs::write(mounted.path("regular"), "and used").unwrap();
    assert_eq!(
        fs::read_to_string(mounted.spool_path("regular")).unwrap(),
        "and used"
    );
}
