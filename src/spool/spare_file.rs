//! Spare files: created ahead without a name, so that creating a file only has to link one.
//!
//! A file without a name (`O_TMPFILE` in open(2)) is invisible, and the file system frees it
//! whatever happens to this process.

use std::fs::File;
use std::os::fd::AsRawFd;

use heirloom_protocol::LibraryPath;
use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use super::Spool;
use super::entries::permissions;
use super::error::SpoolError;
use super::metadata::Metadata;
use super::open_options::OpenOptions;
use super::path::SpoolPath;

/// Set-group-id bit of a folder: files created in it get its group.
const GROUP_IS_INHERITED: u16 = 0o2000;

impl Spool {
    /// Creates a file without a name. Not every file system can, and none for reading only.
    pub fn create_spare(&self, options: OpenOptions, mode: u16) -> Result<File, SpoolError> {
        let flags = OFlags::TMPFILE | options.flags() | OFlags::CLOEXEC;
        rustix::fs::openat(&*self.root_fd, ".", flags, permissions(mode))
            .map(File::from)
            .map_err(|errno| SpoolError::within("create a spare file in", &SpoolPath::Root, errno))
    }

    /// Gives a spare file a name, permissions and the current time, as if it were created now;
    /// fails if anything has this name. After a failure it can be linked elsewhere.
    pub fn link_spare(
        &self,
        spare: &File,
        path: &LibraryPath,
        mode: u16,
    ) -> Result<Metadata, SpoolError> {
        let failed = |errno: Errno| SpoolError::at("link a spare file to", path, errno);
        let (folder, name) = self.open_parent(path, "create spooled file")?;
        if Metadata::of(&folder)
            .map_err(|error| SpoolError::at("look up", path, error))?
            .mode
            & GROUP_IS_INHERITED
            != 0
        {
            return Err(failed(Errno::XDEV));
        }
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        rustix::fs::futimens(
            spare,
            &Timestamps {
                last_access: now,
                last_modification: now,
            },
        )
        .map_err(failed)?;
        if Metadata::of(spare)
            .map_err(|error| SpoolError::at("look up", path, error))?
            .mode
            != mode & 0o7777
        {
            rustix::fs::fchmod(spare, permissions(mode)).map_err(failed)?;
        }
        let link = format!("/proc/self/fd/{}", spare.as_raw_fd());
        rustix::fs::linkat(CWD, link, &folder, name, AtFlags::SYMLINK_FOLLOW).map_err(failed)?;
        Metadata::of(spare).map_err(|error| SpoolError::at("look up", path, error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::spool::{Access, Durability};

    const PLAIN: OpenOptions = OpenOptions {
        access: Access::ReadWrite,
        durability: Durability::Lazy,
    };

    fn spool() -> (tempfile::TempDir, Spool) {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        (home, spool)
    }

    fn path(name: &str) -> LibraryPath {
        LibraryPath::new(name).unwrap()
    }

    #[test]
    fn a_spare_file_is_invisible_until_it_has_a_name() {
        let (_home, spool) = spool();
        let spare = spool.create_spare(PLAIN, 0o600).unwrap();
        assert_eq!(std::fs::read_dir(spool.root()).unwrap().count(), 0);
        spare.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let facts = spool.link_spare(&spare, &path("a.jpg"), 0o640).unwrap();
        let there = std::fs::metadata(spool.root().join("a.jpg")).unwrap();
        assert_eq!((facts.mode, facts.nlink), (0o640, 1));
        assert_eq!(there.permissions().mode() & 0o7777, 0o640);
        assert!(
            there.modified().unwrap().elapsed().unwrap() < Duration::from_mins(1),
            "it gets the current time"
        );
    }

    #[test]
    fn a_spare_file_replaces_no_other_and_stays_spare() {
        let (_home, spool) = spool();
        std::fs::write(spool.root().join("a.jpg"), "first").unwrap();
        let spare = spool.create_spare(PLAIN, 0o644).unwrap();
        assert_eq!(
            spool
                .link_spare(&spare, &path("a.jpg"), 0o644)
                .unwrap_err()
                .source
                .kind(),
            std::io::ErrorKind::AlreadyExists
        );
        assert!(
            spool
                .link_spare(&spare, &path("none/a.jpg"), 0o644)
                .unwrap_err()
                .is_missing()
        );
        assert_eq!(std::fs::read(spool.root().join("a.jpg")).unwrap(), b"first");
        spool.link_spare(&spare, &path("b.jpg"), 0o644).unwrap();
    }

    #[test]
    fn a_folder_whose_group_is_inherited_gets_no_spare_files() {
        let (_home, spool) = spool();
        std::fs::create_dir(spool.root().join("shared")).unwrap();
        std::fs::set_permissions(
            spool.root().join("shared"),
            std::fs::Permissions::from_mode(0o2775),
        )
        .unwrap();
        let spare = spool.create_spare(PLAIN, 0o644).unwrap();
        let error = spool
            .link_spare(&spare, &path("shared/a.jpg"), 0o644)
            .unwrap_err();
        assert_eq!(Errno::from_io_error(&error.source), Some(Errno::XDEV));
        assert!(!spool.root().join("shared/a.jpg").exists());
    }
}
