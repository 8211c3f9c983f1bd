//! Extended attributes of users are kept as on any disk; those with the state of a backup can be
//! read and never set.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use super::fixture::{TestMount, run, with_errno};
use rustix::fs::{
    XattrFlags, getxattr, getxattr_query, lgetxattr, listxattr, lsetxattr, removexattr, setxattr,
};

const ANY: XattrFlags = XattrFlags::empty();

fn set(path: &Path, name: &str, value: &[u8], flags: XattrFlags) -> Result<(), i32> {
    with_errno(setxattr(path, name, value, flags))
}

fn get(path: &Path, name: &str, room: usize) -> Result<Vec<u8>, i32> {
    let mut value = vec![0; room];
    let size = with_errno(getxattr(path, name, &mut value))?;
    value.truncate(size);
    Ok(value)
}

/// The attribute names that a user sees; the spool's own are not among them.
fn list(path: &Path) -> Vec<String> {
    let mut buffer = vec![0; 65_536];
    let size = listxattr(path, &mut buffer).unwrap();
    let names = buffer[..size]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."));
    let mut names: Vec<_> = names
        .map(|name| String::from_utf8(name.to_vec()).unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn xattrs_are_set_read_listed_and_removed() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("file"), "1").unwrap();
        ["folder", "file"].map(|name| {
            let path = root.join(name);
            let outcomes = [
                set(&path, "user.a", b"1", XattrFlags::REPLACE),
                set(&path, "user.a", b"1", XattrFlags::CREATE),
                set(&path, "user.a", b"2", XattrFlags::CREATE),
                set(&path, "user.a", b"22", XattrFlags::REPLACE),
                set(&path, "user.a", b"333", ANY),
                set(&path, "user.b", b"", ANY),
                set(&path, "user.\u{e9} #1", b"\0\xff", ANY),
                set(
                    &path,
                    "user.a",
                    b"1",
                    XattrFlags::CREATE | XattrFlags::REPLACE,
                ),
            ];
            let values = [
                get(&path, "user.a", 10),
                get(&path, "user.b", 10),
                get(&path, "user.none", 10),
            ];
            let before = list(&path);
            let removed = ["user.a", "user.a"].map(|name| with_errno(removexattr(&path, name)));
            (outcomes, values, before, removed, list(&path))
        })
    });
    let [folder, file] = seen;
    assert_eq!(folder, file);
    assert_eq!(file.0[..3], [Err(libc::ENODATA), Ok(()), Err(libc::EEXIST)]);
    assert_eq!(
        (file.1[0].as_deref(), file.2.len()),
        (Ok(b"333".as_slice()), 3)
    );
}

#[test]
fn xattr_sizes_are_reported_and_wrong_sizes_refused_with_the_right_errno() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("file");
        fs::write(&path, "1").unwrap();
        set(&path, "user.a", &[7; 100], ANY).unwrap();
        let reads = [99, 100, 101].map(|room| get(&path, "user.a", room).map(|value| value.len()));
        assert_eq!(with_errno(getxattr_query(&path, "user.a")), Ok(100));
        let listed = with_errno(listxattr(&path, &mut [0; 3]));
        let long = |bytes: usize| format!("user.{}", "n".repeat(bytes - 5));
        let sets = [
            set(&path, "user.b", &vec![1; 65_536 + 1], ANY),
            // More than the disk can store for one file.
            set(&path, "user.b", &vec![1; 65_536], ANY),
            set(&path, "user.b", &[1; 3_000], ANY),
            set(&path, &long(255), b"1", ANY),
            set(&path, &long(256), b"1", ANY),
            set(&path, "user.", b"1", ANY),
            set(&path, "", b"1", ANY),
            set(&path, "user", b"1", ANY),
        ];
        (
            reads,
            listed,
            sets,
            get(&path, "", 10),
            with_errno(removexattr(&path, long(256))),
        )
    });
    assert_eq!(seen.0, [Err(libc::ERANGE), Ok(100), Ok(100)]);
    assert_eq!((seen.1, seen.2[0]), (Err(libc::ERANGE), Err(libc::E2BIG)));
}

#[test]
fn symbolic_links_have_no_user_xattrs() {
    TestMount::new().assert_like_plain_directory(|root| {
        symlink("nowhere", root.join("link")).unwrap();
        let path = root.join("link");
        let set = with_errno(lsetxattr(&path, "user.a", b"1", ANY));
        let read = with_errno(lgetxattr(&path, "user.a", &mut [0; 10]));
        assert_eq!((set, read), (Err(libc::EPERM), Err(libc::ENODATA)));
    });
}

#[test]
fn xattrs_follow_their_file() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("a");
        let file = File::create(&path).unwrap();
        rustix::fs::fsetxattr(&file, "user.a", b"by descriptor", ANY).unwrap();
        fs::rename(&path, root.join("b")).unwrap();
        let after = get(&root.join("b"), "user.a", 20);
        fs::remove_file(root.join("b")).unwrap();
        let mut value = [0; 20];
        let removed = with_errno(rustix::fs::fgetxattr(&file, "user.a", &mut value));
        fs::write(root.join("b"), "new").unwrap();
        (after, removed, list(&root.join("b")))
    });
    assert_eq!(seen, (Ok(b"by descriptor".to_vec()), Ok(13), Vec::new()));
}

#[test]
fn heirloom_xattrs_can_be_read_but_not_set_listed_or_removed() {
    let mounted = TestMount::new();
    let path = mounted.path("a.jpg");
    fs::write(&path, "photo").unwrap();
    set(&path, "user.kept", b"1", ANY).unwrap();
    assert_eq!(get(&path, "user.heirloom.state", 20).unwrap(), b"pending");
    for name in [
        "state",
        "fingerprint",
        "progress",
        "error",
        "mark",
        "anything",
        "",
    ] {
        let name = format!("user.heirloom.{name}");
        for flags in [ANY, XattrFlags::CREATE, XattrFlags::REPLACE] {
            assert_eq!(
                set(&path, &name, b"backed_up", flags),
                Err(libc::EPERM),
                "{name}"
            );
        }
        assert_eq!(
            with_errno(removexattr(&path, &name)),
            Err(libc::EPERM),
            "{name}"
        );
    }
    assert_eq!(list(&path), ["user.kept"]);
    assert_eq!(
        get(&path, "user.heirloom.mark", 200),
        Err(libc::ENODATA),
        "the mark is between the disk and us"
    );
    assert!(
        list(&mounted.spool_path("a.jpg")).contains(&"user.heirloom.mark".to_owned()),
        "and there it is"
    );
    // So copying all listed attributes works, into the mount and out of it.
    run(
        "cp",
        &[
            "-a".as_ref(),
            path.as_os_str(),
            mounted.path("b.jpg").as_os_str(),
        ],
    );
    run(
        "cp",
        &[
            "-a".as_ref(),
            path.as_os_str(),
            mounted.plain_path("c.jpg").as_os_str(),
        ],
    );
    assert_eq!(
        (
            list(&mounted.path("b.jpg")),
            list(&mounted.plain_path("c.jpg"))
        ),
        (vec!["user.kept".to_owned()], vec!["user.kept".to_owned()])
    );
}

#[test]
fn system_xattrs_are_refused_with_eopnotsupp() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.jpg"), "1").unwrap();
    // Version 2; owner rw, user 7 rw, group r, mask rw, others none: more than a mode can express.
    let list = [
        (1, 6, u32::MAX),
        (2, 6, 7),
        (4, 4, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let entry = |(tag, mode, id): (u16, u16, u32)| {
        [
            &tag.to_le_bytes()[..],
            &mode.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    };
    let list = [2_u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(list.map(entry))
        .collect::<Vec<_>>()
        .concat();
    for name in ["security.selinux", "system.posix_acl_access", "trusted.x"] {
        // For `trusted.*` the kernel itself refuses other users.
        let is_ours_to_refuse =
            !name.starts_with("trusted.") || rustix::process::geteuid().is_root();
        let refusal = if is_ours_to_refuse {
            libc::EOPNOTSUPP
        } else {
            libc::EPERM
        };
        assert_eq!(
            set(&mounted.path("a.jpg"), name, &list, ANY),
            Err(refusal),
            "{name}"
        );
        // The kernel does not pass on requests for attributes that only root may see.
        let refusal = if is_ours_to_refuse {
            libc::EOPNOTSUPP
        } else {
            libc::ENODATA
        };
        assert_eq!(
            get(&mounted.path("a.jpg"), name, 10),
            Err(refusal),
            "{name}"
        );
    }
    fs::write(mounted.path("b.jpg"), "and attributes are still asked for").unwrap();
    set(&mounted.path("b.jpg"), "user.a", b"1", ANY).unwrap();
}
