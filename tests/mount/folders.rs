//! Folders in the mount are listed, filled and removed as in a plain directory: up to the limits of
//! names and paths, and while they change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::fixture::{TestMount, run, with_errno};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

#[test]
fn names_of_255_bytes_are_kept_and_of_256_refused_by_every_call() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        [255, 256].map(|bytes| {
            fs::write(root.join("file"), "1").unwrap();
            fs::create_dir(root.join("folder")).unwrap();
            let name = |letter: &str| root.join(letter.repeat(bytes));
            [
                with_errno(File::create(name("a")).map(drop)),
                with_errno(fs::create_dir(name("b"))),
                with_errno(symlink("file", name("c"))),
                with_errno(rustix::fs::mknodat(
                    CWD,
                    name("d"),
                    FileType::RegularFile,
                    Mode::RWXU,
                    0,
                )),
                with_errno(fs::rename(root.join("file"), name("e"))),
                with_errno(fs::rename(root.join("folder"), name("f"))),
                with_errno(fs::metadata(name("a")).map(drop)),
                with_errno(fs::read_link(name("c")).map(drop)),
                with_errno(fs::remove_file(name("d"))),
                with_errno(fs::remove_dir(name("b"))),
            ]
        })
    });
    assert_eq!(
        (seen[0], seen[1]),
        ([Ok(()); 10], [Err(libc::ENAMETOOLONG); 10])
    );
}

/// Opens a chain of new folders below `root` with names of 200 bytes, as deep as a path of `bytes`
/// bytes allows.
fn descend(root: &Path, bytes: usize) -> (OwnedFd, usize) {
    const NAME: usize = 200;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    let mut length = 0;
    while length + NAME + 2 < bytes {
        let name = "d".repeat(NAME);
        rustix::fs::mkdirat(&folder, &name, Mode::RWXU).unwrap();
        folder = rustix::fs::openat(&folder, &name, flags, Mode::empty()).unwrap();
        length += NAME + 1;
    }
    (folder, length)
}

#[test]
fn paths_are_kept_up_to_path_max() {
    const PATH_MAX: usize = 4096;
    let mounted = TestMount::new();
    let (folder, length) = descend(&mounted.path(""), PATH_MAX);
    let make = |name: &str| {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        with_errno(rustix::fs::openat(&folder, name, flags, Mode::RWXU))
    };
    // Without the terminating 0 byte, PATH_MAX is 4,095.
    let longest = "f".repeat(PATH_MAX - 1 - length);
    let file = make(&longest).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
    let size = rustix::fs::statat(&folder, &longest, AtFlags::empty())
        .unwrap()
        .st_size;
    assert_eq!(
        (size, make(&(longest + "f")).map(drop)),
        (4, Err(libc::ENAMETOOLONG))
    );
    run(
        "rm",
        &["-r".as_ref(), mounted.path("d".repeat(200)).as_os_str()],
    );
    assert_eq!(fs::read_dir(mounted.spool_path("")).unwrap().count(), 0);
}

#[test]
fn files_moved_beyond_path_max_come_back_with_their_folder() {
    let mounted = TestMount::new();
    let below = format!("a/{0}/{0}/photo", "l".repeat(250));
    fs::create_dir_all(mounted.path(&below).parent().unwrap()).unwrap();
    fs::write(mounted.path(&below), "1").unwrap();
    let (deep, _) = descend(&mounted.path(""), 4_000);
    rustix::fs::renameat(CWD, mounted.path("a"), &deep, "a").unwrap();
    let found = with_errno(rustix::fs::statat(&deep, &below, AtFlags::empty()).map(drop));
    assert_eq!(found, Err(libc::ENAMETOOLONG));
    rustix::fs::renameat(&deep, "a", CWD, mounted.path("b")).unwrap();
    assert_eq!(
        fs::read_to_string(mounted.path(below.replacen('a', "b", 1))).unwrap(),
        "1"
    );
}

#[test]
fn only_empty_folders_can_be_removed() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::create_dir_all(root.join("full/below")).unwrap();
        fs::write(root.join("file"), "1").unwrap();
        symlink("full/below", root.join("link")).unwrap();
        let removed = [
            "full",
            "file",
            "link",
            "missing",
            "full/below",
            "full",
            "full/",
        ]
        .map(|name| with_errno(fs::remove_dir(root.join(name))));
        (
            removed,
            with_errno(fs::remove_dir(root.join("."))),
            with_errno(fs::remove_file(root.join("link"))),
        )
    });
    let (not, no, gone) = (Err(libc::ENOTDIR), Err(libc::ENOENT), Ok(()));
    assert_eq!(seen.0, [Err(libc::ENOTEMPTY), not, not, no, gone, gone, no]);
}

#[test]
fn an_open_removed_folder_is_empty_and_stays_empty() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::create_dir(root.join("folder")).unwrap();
        let folder = File::open(root.join("folder")).unwrap();
        fs::remove_dir(root.join("folder")).unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/new"), "1").unwrap();
        let made = rustix::fs::openat(&folder, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
        let found = rustix::fs::statat(&folder, "new", AtFlags::empty());
        let synced = with_errno(folder.sync_all());
        (
            with_errno(made.map(drop)),
            with_errno(found.map(drop)),
            synced,
            folder.metadata().unwrap().is_dir(),
        )
    });
    assert_eq!(seen, (Err(libc::ENOENT), Err(libc::ENOENT), Ok(()), true));
}

/// The names of a listing, each with the offset after it.
fn listing(directory: &mut Dir) -> Vec<(CString, i64)> {
    let mut found = Vec::new();
    while let Some(entry) = directory.read() {
        let entry = entry.unwrap();
        found.push((entry.file_name().to_owned(), entry.offset()));
    }
    found
}

#[test]
fn a_listing_resumes_from_every_offset_it_returned() {
    let mounted = TestMount::new();
    for count in 0..300 {
        File::create(mounted.path(format!("{count:03}"))).unwrap();
    }
    let mut directory = Dir::read_from(File::open(mounted.path("")).unwrap()).unwrap();
    let all = listing(&mut directory);
    assert_eq!(all.len(), 302, "with . and ..");
    for at in [0, 1, 2, 77, 299, 150, 301] {
        directory.seek(all[at].1).unwrap();
        assert_eq!(listing(&mut directory), all[at + 1..], "from {at}");
    }
    // Entries that come and go meanwhile do not move the others; they may be listed or not until
    // the directory is rewound.
    for (name, _) in all
        .iter()
        .filter(|(name, _)| name.to_bytes().ends_with(b"7"))
    {
        rustix::fs::unlinkat(CWD, mounted.path(name.to_str().unwrap()), AtFlags::empty()).unwrap();
    }
    File::create(mounted.path("new")).unwrap();
    directory.seek(all[100].1).unwrap();
    let came_or_went =
        |name: &CString| name.to_bytes() == b"new" || name.to_bytes().ends_with(b"7");
    let staying = |names: Vec<(CString, i64)>| -> Vec<CString> {
        names
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !came_or_went(name))
            .collect()
    };
    assert_eq!(
        staying(listing(&mut directory)),
        staying(all[101..].to_vec())
    );
    directory.rewind();
    assert_eq!(listing(&mut directory).len(), 302 - 30 + 1);
}

#[test]
fn two_readers_of_one_folder_do_not_disturb_each_other() {
    let mounted = TestMount::new();
    for count in 0..500 {
        File::create(mounted.path(format!("{count}"))).unwrap();
    }
    let open = || Dir::read_from(File::open(mounted.path("")).unwrap()).unwrap();
    let (mut one, mut two) = (open(), open());
    let mut seen: BTreeMap<CString, u32> = BTreeMap::new();
    while let Some(entry) = one.read() {
        *seen
            .entry(entry.unwrap().file_name().to_owned())
            .or_default() += 1;
        if let Some(entry) = two.read() {
            *seen
                .entry(entry.unwrap().file_name().to_owned())
                .or_default() += 1;
        }
    }
    assert_eq!(
        (seen.len(), seen.values().all(|times| *times == 2)),
        (502, true)
    );
}

#[test]
fn a_listing_reports_the_type_of_every_entry() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("file"), "1").unwrap();
        symlink("file", root.join("link")).unwrap();
        let mut directory = Dir::read_from(File::open(root).unwrap()).unwrap();
        let mut kinds = BTreeMap::new();
        while let Some(entry) = directory.read() {
            let entry = entry.unwrap();
            kinds.insert(
                entry.file_name().to_owned(),
                format!("{:?}", entry.file_type()),
            );
        }
        kinds
    });
    assert_eq!(seen.len(), 5);
}

#[test]
fn symbolic_links_resolve_to_their_targets() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::create_dir(root.join("folder")).unwrap();
        for (target, name) in [
            ("folder", "to folder"),
            ("../x/folder", "out"),
            ("loop", "loop"),
            ("missing", "dangling"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        fs::write(root.join("to folder/a"), "1").unwrap();
        let exclusive = File::options()
            .write(true)
            .create_new(true)
            .open(root.join("dangling"));
        fs::write(root.join("dangling"), "made through it").unwrap();
        [
            with_errno(fs::read_to_string(root.join("folder/a"))),
            with_errno(fs::read_to_string(root.join("loop"))),
            with_errno(fs::read_to_string(root.join("missing"))),
            with_errno(exclusive.map(|_| String::new())),
            with_errno(
                fs::read_link(root.join("out")).map(|target| target.to_str().unwrap().to_owned()),
            ),
            with_errno(symlink("", root.join("empty")).map(|()| String::new())),
            with_errno(symlink("l".repeat(4096), root.join("long")).map(|()| String::new())),
        ]
    });
    assert_eq!(
        (seen[0].as_deref(), seen[1].as_deref()),
        (Ok("1"), Err(&libc::ELOOP))
    );
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A folder with a few files whose listing the kernel has cached.
fn with_kept_list(mounted: &TestMount) -> PathBuf {
    let folder = mounted.path("folder");
    fs::create_dir(&folder).unwrap();
    for number in 0..10 {
        fs::write(folder.join(format!("{number}.txt")), "1").unwrap();
    }
    // A listing is cached only if the folder has not changed for a while.
    let changed = mounted
        .spool_path("folder")
        .metadata()
        .unwrap()
        .modified()
        .unwrap();
    let settled = changed + Duration::from_millis(1100);
    thread::sleep(
        settled
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    );
    for _ in 0..3 {
        assert_eq!(names_in(&folder).len(), 10);
    }
    folder
}

#[test]
fn a_cached_listing_shows_every_change_through_the_mount() {
    let mounted = TestMount::new();
    let folder = with_kept_list(&mounted);
    let changes: [&dyn Fn(&Path); 7] = [
        &|folder| fs::write(folder.join("new.txt"), "1").unwrap(),
        &|folder| fs::rename(folder.join("new.txt"), folder.join("other.txt")).unwrap(),
        &|folder| fs::rename(folder.join("other.txt"), folder.with_file_name("out.txt")).unwrap(),
        &|folder| fs::rename(folder.with_file_name("out.txt"), folder.join("1.txt")).unwrap(),
        &|folder| fs::remove_file(folder.join("2.txt")).unwrap(),
        &|folder| fs::create_dir(folder.join("below")).unwrap(),
        &|folder| fs::remove_dir(folder.join("below")).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let before = names_in(&folder);
        change(&folder);
        let after = names_in(&folder);
        assert_eq!(
            after,
            names_in(&mounted.spool_path("folder")),
            "change {number}"
        );
        // The fourth rename replaces another file.
        assert!(after != before || number == 3, "change {number}");
    }
}

#[test]
fn a_cached_listing_shows_files_put_into_the_spool_behind_it() {
    let mounted = TestMount::new();
    let folder = with_kept_list(&mounted);
    fs::write(mounted.spool_path("folder/behind.txt"), "1").unwrap();
    assert!(names_in(&folder).contains("behind.txt"));
    fs::remove_file(mounted.spool_path("folder/3.txt")).unwrap();
    assert!(!names_in(&folder).contains("3.txt"));
}
