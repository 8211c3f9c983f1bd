//! The spool on a real directory tree: ids, links, renames, attributes and long paths.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;

use super::*;

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}
fn spool() -> (tempfile::TempDir, Spool) {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(&home.path().join("spool")).unwrap();
    (home, spool)
}
fn new(access: Access) -> OpenOptions {
    OpenOptions {
        access,
        durability: Durability::Lazy,
    }
}
fn put(spool: &Spool, at: &str, bytes: &[u8]) -> FileId {
    let mut file = spool
        .create_file(&path(at), new(Access::Write), 0o644)
        .unwrap();
    file.write_all(bytes).unwrap();
    Spool::identify(&file).unwrap().0
}
fn errno(error: &SpoolError) -> Option<rustix::io::Errno> {
    rustix::io::Errno::from_io_error(&error.source)
}

#[test]
fn a_file_keeps_its_id_under_every_name() {
    let (_home, spool) = spool();
    spool.create_folder(&path("2026"), 0o755).unwrap();
    let id = put(&spool, "a.jpg", b"bytes");
    spool
        .rename(&path("a.jpg"), &path("2026/b.jpg"), Replace::Refuse)
        .unwrap();
    let mut file = spool.open_read(&path("2026/b.jpg")).unwrap();
    let (found, stamp) = Spool::identify(&file).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(
        (found, stamp.size, bytes.as_slice()),
        (id, 5, b"bytes".as_slice())
    );
    assert!(spool.open_read(&path("a.jpg")).unwrap_err().is_missing());
}

#[test]
fn no_symbolic_link_leads_out_of_the_tree() {
    let (home, spool) = spool();
    std::fs::write(home.path().join("secret"), "secret").unwrap();
    std::fs::create_dir(home.path().join("outside")).unwrap();
    symlink(home.path().join("secret"), spool.root().join("link")).unwrap();
    symlink(home.path().join("outside"), spool.root().join("door")).unwrap();
    assert_eq!(
        errno(&spool.open_read(&path("link")).unwrap_err()),
        Some(rustix::io::Errno::LOOP)
    );
    let inside = path("door/new");
    assert!(
        spool
            .create_file(&inside, new(Access::Write), 0o644)
            .is_err()
    );
    assert!(spool.create_folder(&inside, 0o755).is_err());
    assert!(spool.metadata(&SpoolPath::Entry(inside)).is_err());
    assert!(
        spool
            .rename(&path("link"), &path("door/link"), Replace::Allow)
            .is_err()
    );
    assert_eq!(
        std::fs::read_dir(home.path().join("outside"))
            .unwrap()
            .count(),
        0
    );
    // Not even to another folder of the tree: its photos have one path each.
    spool.create_folder(&path("folder"), 0o755).unwrap();
    put(&spool, "folder/a.jpg", b"1");
    symlink("folder", spool.root().join("alias")).unwrap();
    assert_eq!(
        errno(&spool.open_read(&path("alias/a.jpg")).unwrap_err()),
        Some(rustix::io::Errno::LOOP)
    );
    assert!(spool.remove_file(&path("alias/a.jpg")).is_err());
    assert_eq!(
        spool
            .metadata(&SpoolPath::Entry(path("link")))
            .unwrap()
            .kind,
        Kind::Link
    );
}

#[test]
fn only_a_regular_file_is_read_and_a_fifo_does_not_block() {
    let (_home, spool) = spool();
    spool.create_folder(&path("folder"), 0o755).unwrap();
    rustix::fs::mknodat(
        &*spool.root_fd,
        "fifo",
        rustix::fs::FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .unwrap();
    assert_eq!(
        errno(&spool.open_read(&path("folder")).unwrap_err()),
        Some(rustix::io::Errno::ISDIR)
    );
    assert_eq!(
        errno(&spool.open_read(&path("fifo")).unwrap_err()),
        Some(rustix::io::Errno::INVAL)
    );
}

#[test]
fn the_walk_visits_every_regular_file_once_and_continues_after_errors() {
    let (_home, spool) = spool();
    for folder in ["a", "a/b", "c"] {
        spool.create_folder(&path(folder), 0o755).unwrap();
    }
    let mut want: Vec<_> = ["x.jpg", "a/y.jpg", "a/b/z.jpg", "c/w.jpg"]
        .map(|name| (name.to_owned(), put(&spool, name, b"1")))
        .into();
    symlink("x.jpg", spool.root().join("link")).unwrap();
    let foreign = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9.jpg");
    std::fs::write(spool.root().join(foreign), "latin-1").unwrap();
    let (mut met, mut troubles) = (Vec::new(), Vec::new());
    spool.walk(&mut |step| match step {
        Ok((path, id, stamp)) => {
            assert_eq!(stamp.size, 1);
            met.push((path.as_str().to_owned(), id));
        }
        Err(error) => troubles.push(errno(&error)),
    });
    met.sort();
    want.sort();
    assert_eq!(met, want);
    assert_eq!(troubles, [Some(rustix::io::Errno::ILSEQ)]);
}

#[test]
fn renames_that_exchange_or_refuse_are_atomic() {
    let (_home, spool) = spool();
    let (one, two) = (put(&spool, "one", b"1"), put(&spool, "two", b"2"));
    let taken = spool
        .rename(&path("one"), &path("two"), Replace::Refuse)
        .unwrap_err();
    assert_eq!(errno(&taken), Some(rustix::io::Errno::EXIST));
    spool
        .rename(&path("one"), &path("two"), Replace::Exchange)
        .unwrap();
    let id = |name: &str| spool.metadata(&SpoolPath::Entry(path(name))).unwrap().id;
    assert_eq!((id("one"), id("two")), (two, one));
}

#[test]
fn a_new_file_has_the_requested_mode() {
    let (_home, spool) = spool();
    spool
        .create_file(&path("f"), new(Access::Write), 0o666)
        .unwrap();
    spool.create_folder(&path("d"), 0o777).unwrap();
    let mode = |name: &str| spool.metadata(&SpoolPath::Entry(path(name))).unwrap().mode;
    assert_eq!(
        (mode("f"), mode("d")),
        (0o666, 0o777),
        "whatever our own umask is"
    );
}

#[test]
fn attributes_of_a_removed_open_file_can_be_changed() {
    let (_home, spool) = spool();
    put(&spool, "gone", b"still here");
    let file = spool.open_read(&path("gone")).unwrap();
    spool.remove_file(&path("gone")).unwrap();
    set_mode(&file, 0o640).unwrap();
    set_xattr(&file, OsStr::new("user.note"), b"kept", 0).unwrap();
    assert_eq!(xattr(&file, OsStr::new("user.note")).unwrap(), b"kept");
    assert_eq!(list_xattrs(&file).unwrap(), ["user.note"]);
    let mut again = reopen(&file, new(Access::ReadWrite)).unwrap();
    let mut text = String::new();
    again.read_to_string(&mut text).unwrap();
    let facts = Metadata::of(&again).unwrap();
    assert_eq!(
        (text.as_str(), facts.nlink, facts.mode),
        ("still here", 0, 0o640)
    );
}

#[test]
fn a_path_may_be_longer_with_the_root_than_the_kernel_allows() {
    let (_home, spool) = spool();
    let name = "n".repeat(255);
    let mut folder = SpoolPath::Root;
    for _ in 0..15 {
        let next = folder.join(&name).unwrap();
        spool.create_folder(&next, 0o755).unwrap();
        folder = SpoolPath::Entry(next);
    }
    let last = folder.join(&"m".repeat(255)).unwrap();
    assert_eq!(last.as_str().len(), LibraryPath::BYTES_MAX);
    put(&spool, last.as_str(), b"deep");
    assert_eq!(
        Spool::identify(&spool.open_read(&last).unwrap())
            .unwrap()
            .1
            .size,
        4
    );
    let mut met = 0;
    spool.walk(&mut |step| {
        step.unwrap();
        met += 1;
    });
    assert_eq!(met, 1);
}
