//! Renames in the mount behave as in a plain directory: of files, folders and open files.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use super::fixture::mapping::Mapping;
use super::fixture::{TestMount, with_errno};
use rustix::fs::{CWD, RenameFlags, renameat_with};

fn rename(root: &Path, from: &str, to: &str, flags: RenameFlags) -> Result<(), i32> {
    with_errno(renameat_with(
        CWD,
        root.join(from),
        CWD,
        root.join(to),
        flags,
    ))
}

const PLAIN: RenameFlags = RenameFlags::empty();
const KEEP: RenameFlags = RenameFlags::NOREPLACE;
const SWAP: RenameFlags = RenameFlags::EXCHANGE;

/// Every path below with its content, for comparison.
fn tree(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_symlink() {
            found.push((
                name,
                format!("-> {}", fs::read_link(&path).unwrap().display()),
            ));
        } else if path.is_dir() {
            found.extend(
                tree(&path)
                    .into_iter()
                    .map(|(below, what)| (format!("{name}/{below}"), what)),
            );
            found.push((name, "folder".to_owned()));
        } else {
            found.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    found
}

fn furnish(root: &Path) {
    fs::create_dir_all(root.join("full/deep")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("one"), "1").unwrap();
    fs::write(root.join("two"), "2").unwrap();
    fs::write(root.join("full/three"), "3").unwrap();
    symlink("one", root.join("link")).unwrap();
}

#[test]
fn every_rename_between_all_kinds_of_files_ends_as_on_the_disk() {
    let names = [
        "one",
        "full",
        "full/deep",
        "full/three",
        "empty",
        "link",
        "missing",
    ];
    let (mounted, mut done) = (TestMount::new(), 0);
    for (count, flags) in [PLAIN, SWAP].into_iter().enumerate() {
        for from in names {
            for to in names {
                let case = format!("{count} {from} {to}").replace('/', "-");
                let (_, outcome, _) = mounted.assert_like_plain_directory(|root| {
                    let root = root.join(&case);
                    fs::create_dir(&root).unwrap();
                    furnish(&root);
                    (case.clone(), rename(&root, from, to, flags), tree(&root))
                });
                done += usize::from(outcome.is_ok());
            }
        }
    }
    assert!(done > 30, "{done}");
}

#[test]
fn rename_noreplace_replaces_nothing() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        furnish(root);
        let taken = ["two", "empty", "link", "one"].map(|to| rename(root, "one", to, KEEP));
        let strange = [("one", "."), ("one", "two/below"), ("full", "full/deep/x")]
            .map(|(from, to)| rename(root, from, to, KEEP));
        (
            taken,
            rename(root, "one", "new", KEEP),
            strange,
            rename(root, "new", "two", SWAP | KEEP),
            tree(root),
        )
    });
    assert_eq!(
        (seen.0, seen.1, seen.3),
        ([Err(libc::EEXIST); 4], Ok(()), Err(libc::EINVAL))
    );
}

#[test]
fn exchanged_folders_keep_their_open_files() {
    let mounted = TestMount::new();
    for name in ["x", "y"] {
        fs::create_dir(mounted.path(name)).unwrap();
    }
    let mut one = File::create(mounted.path("x/1.jpg")).unwrap();
    let mut two = File::create(mounted.path("y/1.jpg")).unwrap();
    rename(&mounted.path(""), "x", "y", SWAP).unwrap();
    one.write_all(b"from x").unwrap();
    two.write_all(b"from y").unwrap();
    drop((one, two));
    mounted.events_until("written x/1.jpg");
    let notes = mounted.events_until("written y/1.jpg");
    assert!(notes.contains(&"exchanged x and y".to_owned()), "{notes:?}");
    for root in [mounted.path(""), mounted.spool_path("")] {
        assert_eq!(fs::read_to_string(root.join("x/1.jpg")).unwrap(), "from y");
        assert_eq!(fs::read_to_string(root.join("y/1.jpg")).unwrap(), "from x");
    }
    rename(&mounted.path(""), "x/1.jpg", "y", SWAP).unwrap();
    assert_eq!(fs::read_to_string(mounted.path("y")).unwrap(), "from y");
    assert_eq!(
        fs::read_to_string(mounted.path("x/1.jpg/1.jpg")).unwrap(),
        "from x"
    );
}

#[test]
fn an_open_renamed_file_can_be_used_in_every_way() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(root.join("a.part"))
            .unwrap();
        file.write_all_at(b"0123456789", 0).unwrap();
        let mapping = Mapping::of(&file, 10).unwrap();
        fs::rename(root.join("a.part"), root.join("a.jpg")).unwrap();
        mapping.write(2, b"mapped");
        mapping.sync().unwrap();
        file.set_len(11).unwrap();
        let by_name = File::options()
            .append(true)
            .open(root.join("a.jpg"))
            .unwrap();
        (&by_name).write_all(b"end").unwrap();
        let same =
            file.metadata().unwrap().ino() == fs::metadata(root.join("a.jpg")).unwrap().ino();
        (same, tree(root))
    });
    assert_eq!(
        seen,
        (
            true,
            vec![("a.jpg".to_owned(), "01mapped89\0end".to_owned())]
        )
    );
}

#[test]
fn writes_to_a_replaced_file_do_not_reach_its_replacement() {
    let mounted = TestMount::new();
    let seen = mounted.assert_like_plain_directory(|root| {
        let old = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(root.join("a.jpg"))
            .unwrap();
        let new = File::create(root.join("a.part")).unwrap();
        new.write_all_at(b"new", 0).unwrap();
        old.write_all_at(b"old", 0).unwrap();
        fs::rename(root.join("a.part"), root.join("a.jpg")).unwrap();
        old.write_all_at(b"late", 3).unwrap();
        new.write_all_at(b"er", 3).unwrap();
        let mut bytes = [0; 7];
        old.read_exact_at(&mut bytes, 0).unwrap();
        (bytes, old.metadata().unwrap().nlink(), tree(root))
    });
    assert_eq!(
        seen,
        (
            *b"oldlate",
            0,
            vec![("a.jpg".to_owned(), "newer".to_owned())]
        )
    );
    let notes = mounted.events_until("written a.jpg");
    assert_eq!(
        notes,
        [
            "writing a.jpg",
            "writing a.part",
            "renamed a.part to a.jpg over another",
            "written a.jpg"
        ]
    );
}

#[test]
fn a_folder_of_thousands_is_renamed_in_one_step() {
    const FILES: usize = 2_000;
    let mounted = TestMount::new();
    fs::create_dir_all(mounted.path("camera/DCIM")).unwrap();
    for count in 0..FILES {
        File::create(mounted.path(format!("camera/DCIM/{count}.jpg"))).unwrap();
    }
    let open = File::options()
        .append(true)
        .open(mounted.path("camera/DCIM/7.jpg"))
        .unwrap();
    let numbers = |folder: &str| -> Vec<u64> {
        (0..FILES)
            .step_by(50)
            .map(|count| {
                fs::metadata(mounted.path(format!("{folder}/{count}.jpg")))
                    .unwrap()
                    .ino()
            })
            .collect()
    };
    let before = numbers("camera/DCIM");
    let events_before = mounted
        .events_until_count("written camera/DCIM/1999.jpg", 1)
        .len();
    fs::rename(mounted.path("camera"), mounted.path("2026")).unwrap();
    let notes = mounted.events_until("renamed folder camera to 2026");
    // One event and one entry of the inode table, whatever is below.
    assert_eq!(
        notes.len(),
        events_before + 1,
        "{:?}",
        &notes[events_before..]
    );
    assert_eq!(numbers("2026/DCIM"), before);
    assert!(!mounted.path("camera/DCIM/7.jpg").exists());
    (&open).write_all(b"still the same").unwrap();
    assert_eq!(
        fs::read_to_string(mounted.spool_path("2026/DCIM/7.jpg")).unwrap(),
        "still the same"
    );
}

#[test]
fn a_working_directory_survives_its_rename() {
    let mounted = TestMount::new();
    fs::create_dir_all(mounted.path("a/b")).unwrap();
    let folder = File::open(mounted.path("a/b")).unwrap();
    let make = |name: &str| {
        let (flags, mode) = (
            rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
            rustix::fs::Mode::RUSR,
        );
        with_errno(rustix::fs::openat(&folder, name, flags, mode)).map(drop)
    };
    fs::rename(mounted.path("a"), mounted.path("z")).unwrap();
    make("one").unwrap();
    fs::rename(mounted.path("z/b"), mounted.path("y")).unwrap();
    make("two").unwrap();
    assert_eq!(tree(&mounted.spool_path("y")).len(), 2);
    fs::remove_dir_all(mounted.path("y")).unwrap();
    assert_eq!(
        make("three"),
        Err(libc::ENOENT),
        "nothing is made in a removed folder"
    );
}
