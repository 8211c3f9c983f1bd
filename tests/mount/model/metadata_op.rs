//! Operations that set mode, times and extended attributes by name.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rustix::fs::{
    AtFlags, CWD, Timespec, Timestamps, XattrFlags, removexattr, setxattr, utimensat,
};

use super::step::{mode, path};

#[derive(Clone, Debug)]
pub(crate) enum MetadataOp {
    Mode {
        path: String,
        mode: u32,
    },
    /// Sets the mtime of the file itself, or of a link's target.
    Time {
        path: String,
        seconds: i64,
        nanoseconds: i64,
        link: AtFlags,
    },
    Attribute {
        path: String,
        name: &'static str,
        value: Vec<u8>,
        flags: u32,
    },
    NoAttribute {
        path: String,
        name: &'static str,
    },
}

impl MetadataOp {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        // The range of ext4 begins in 1901; it ends before `RECENT` of the snapshot.
        let seconds = -2_147_483_648_i64..1_500_000_000;
        let link = select(vec![AtFlags::empty(), AtFlags::SYMLINK_NOFOLLOW]);
        let name = || select(vec!["user.one", "user.two", "user."]);
        prop_oneof![
            (path(), mode()).prop_map(|(path, mode)| Self::Mode { path, mode }),
            (path(), seconds, 0..1_000_000_000_i64, link).prop_map(
                |(path, seconds, nanoseconds, link)| Self::Time {
                    path,
                    seconds,
                    nanoseconds,
                    link
                }
            ),
            (path(), name(), vec(any::<u8>(), 0..40), 0..4_u32).prop_map(
                |(path, name, value, flags)| Self::Attribute {
                    path,
                    name,
                    value,
                    flags
                }
            ),
            (path(), name()).prop_map(|(path, name)| Self::NoAttribute { path, name }),
        ]
    }

    pub(crate) fn apply(&self, root: &Path) -> io::Result<()> {
        match self {
            Self::Mode { path, mode } => {
                fs::set_permissions(root.join(path), fs::Permissions::from_mode(*mode))?;
            }
            Self::Time {
                path,
                seconds,
                nanoseconds,
                link,
            } => {
                let time = Timespec {
                    tv_sec: *seconds,
                    tv_nsec: *nanoseconds,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                utimensat(CWD, root.join(path), &times, *link)?;
            }
            Self::Attribute {
                path,
                name,
                value,
                flags,
            } => {
                setxattr(
                    root.join(path),
                    *name,
                    value,
                    XattrFlags::from_bits_retain(*flags),
                )?;
            }
            Self::NoAttribute { path, name } => removexattr(root.join(path), *name)?,
        }
        Ok(())
    }
}
