//! The limit on the kernel's inodes, in a real mount.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use heirloom_protocol::LibraryPath;

use super::*;
use crate::intake::{BackupState, FileStatus};
use crate::journal::FileId;
use crate::spool::Spool;

/// How long the kernel may take to drop inodes.
const RECLAIM_WAIT_MAX: Duration = Duration::from_secs(20);

/// A listener that ignores every event.
struct NullListener;

impl ChangeListener for NullListener {
    fn opened_for_write(&self, _: FileId, _: &LibraryPath) {}
    fn closed_after_write(&self, _: FileId, _: &LibraryPath) {}
    fn changed(&self, _: FileId, _: &LibraryPath) {}
    fn file_renamed(&self, _: FileId, _: &LibraryPath, _: &LibraryPath, _: Option<FileId>) {}
    fn folder_renamed(&self, _: &LibraryPath, _: &LibraryPath) {}
    fn exchanged(&self, _: &LibraryPath, _: &LibraryPath) {}
    fn removed(&self, _: FileId, _: &LibraryPath) {}
    fn status(&self, _: FileId, _: &LibraryPath) -> FileStatus {
        FileStatus {
            state: BackupState::Local,
            fingerprint: None,
            progress: None,
            why: None,
        }
    }
}

/// The path and inode number of every file of the tree.
fn list_all(top: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for folder in fs::read_dir(top).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap();
            all.push((
                file.path().display().to_string(),
                file.metadata().unwrap().ino(),
            ));
        }
    }
    all.sort();
    all
}

#[test]
fn the_kernel_holds_a_limited_number_of_inodes_and_programs_do_not_notice() {
    const LIMIT: usize = 200;
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("mount");
    fs::create_dir(&place).unwrap();
    for folder in 0..10 {
        let folder = home.path().join("spool").join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        (0..100)
            .for_each(|file| fs::write(folder.join(file.to_string()), file.to_string()).unwrap());
    }
    let spool = Spool::open(&home.path().join("spool")).unwrap();
    let tree = Arc::new(
        Tree::new(spool, Arc::new(NullListener), None)
            .unwrap()
            .with_inode_limit(LIMIT),
    );
    let mount = Mount::start_tree(&place, &tree, IoMode::Auto, None).unwrap();

    let mut open = File::open(place.join("0/7")).unwrap();
    let seen = list_all(&place);
    assert_eq!(seen.len(), 1000);
    let until = Instant::now() + RECLAIM_WAIT_MAX;
    while tree.inodes_held() > LIMIT {
        assert!(
            Instant::now() < until,
            "the kernel holds {} inodes",
            tree.inodes_held()
        );
        std::thread::yield_now();
    }

    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "7", "an open file is read on");
    let name = fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).unwrap();
    assert_eq!(name, place.join("0/7"), "and keeps its name");
    assert_eq!(
        list_all(&place),
        seen,
        "the same files under the same numbers"
    );
    assert_eq!(fs::read_to_string(place.join("9/99")).unwrap(), "99");
    fs::rename(place.join("3/3"), place.join("3/three")).unwrap();
    assert_eq!(fs::read_to_string(place.join("3/three")).unwrap(), "3");
    drop(open);
    mount.unmount().unwrap();
}
