//! Operations that create, change and remove names.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mkdirat, mknodat, renameat_with};

use super::step::{mode, path};

#[derive(Clone, Debug)]
pub(crate) enum NameOp {
    MakeFolder {
        path: String,
        mode: u32,
    },
    MakeNode {
        path: String,
        mode: u32,
    },
    Link {
        target: &'static str,
        path: String,
    },
    Rename {
        from: String,
        to: String,
        flags: RenameFlags,
    },
    Unlink {
        path: String,
    },
    RemoveFolder {
        path: String,
    },
    RemoveTree {
        path: String,
    },
}

impl NameOp {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let flags = select(vec![
            RenameFlags::empty(),
            RenameFlags::empty(),
            RenameFlags::EXCHANGE,
            RenameFlags::EXCHANGE,
            RenameFlags::NOREPLACE,
        ]);
        // No target leads out of the root folder, or the two trees would share it.
        let target = select(vec!["a", "b", "../b", "c/a", "a/../c", "nowhere"]);
        prop_oneof![
            4 => (path(), mode()).prop_map(|(path, mode)| Self::MakeFolder { path, mode }),
            1 => (path(), mode()).prop_map(|(path, mode)| Self::MakeNode { path, mode }),
            1 => (target, path()).prop_map(|(target, path)| Self::Link { target, path }),
            6 => (path(), path(), flags).prop_map(|(from, to, flags)| Self::Rename { from, to, flags }),
            2 => path().prop_map(|path| Self::Unlink { path }),
            1 => path().prop_map(|path| Self::RemoveFolder { path }),
            1 => path().prop_map(|path| Self::RemoveTree { path }),
        ]
    }

    pub(crate) fn apply(&self, root: &Path) -> io::Result<()> {
        match self {
            Self::MakeFolder { path, mode } => {
                mkdirat(CWD, root.join(path), Mode::from_raw_mode(*mode))?;
            }
            Self::MakeNode { path, mode } => {
                mknodat(
                    CWD,
                    root.join(path),
                    FileType::RegularFile,
                    Mode::from_raw_mode(*mode),
                    0,
                )?;
            }
            Self::Link { target, path } => symlink(target, root.join(path))?,
            Self::Rename { from, to, flags } => {
                renameat_with(CWD, root.join(from), CWD, root.join(to), *flags)?;
            }
            Self::Unlink { path } => fs::remove_file(root.join(path))?,
            Self::RemoveFolder { path } => fs::remove_dir(root.join(path))?,
            Self::RemoveTree { path } => fs::remove_dir_all(root.join(path))?,
        }
        Ok(())
    }
}
