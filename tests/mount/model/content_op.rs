//! Operations on file contents by name: each opens the file and closes it again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use proptest::prelude::*;

use super::step::{bytes, mode, path, position};

#[derive(Clone, Debug)]
pub(crate) enum ContentOp {
    Create {
        path: String,
        mode: u32,
    },
    CreateExclusively {
        path: String,
        mode: u32,
    },
    /// Overwrites the whole file, like `cp`.
    Overwrite {
        path: String,
        bytes: Vec<u8>,
    },
    At {
        path: String,
        at: u64,
        bytes: Vec<u8>,
    },
    Append {
        path: String,
        bytes: Vec<u8>,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Copy {
        from: String,
        to: String,
    },
    Read {
        path: String,
    },
}

impl ContentOp {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            1 => (path(), mode()).prop_map(|(path, mode)| Self::Create { path, mode }),
            1 => (path(), mode()).prop_map(|(path, mode)| Self::CreateExclusively { path, mode }),
            3 => (path(), bytes()).prop_map(|(path, bytes)| Self::Overwrite { path, bytes }),
            1 => (path(), position(), bytes()).prop_map(|(path, at, bytes)| Self::At { path, at, bytes }),
            1 => (path(), bytes()).prop_map(|(path, bytes)| Self::Append { path, bytes }),
            1 => (path(), position()).prop_map(|(path, size)| Self::Truncate { path, size }),
            1 => (path(), path()).prop_map(|(from, to)| Self::Copy { from, to }),
            1 => path().prop_map(|path| Self::Read { path }),
        ]
    }

    /// Applies the operation; returns the bytes read, or the number of bytes copied.
    pub(crate) fn apply(&self, root: &Path) -> io::Result<Vec<u8>> {
        let open = |options: &mut fs::OpenOptions, path: &str| options.open(root.join(path));
        let mut options = File::options();
        options.write(true);
        match self {
            Self::Create { path, mode } => open(options.create(true).mode(*mode), path).map(drop),
            Self::CreateExclusively { path, mode } => {
                open(options.create_new(true).mode(*mode), path).map(drop)
            }
            Self::Overwrite { path, bytes } => fs::write(root.join(path), bytes),
            Self::At { path, at, bytes } => open(&mut options, path)?.write_all_at(bytes, *at),
            Self::Append { path, bytes } => open(options.append(true), path)?.write_all(bytes),
            Self::Truncate { path, size } => open(&mut options, path)?.set_len(*size),
            Self::Copy { from, to } => {
                return fs::copy(root.join(from), root.join(to))
                    .map(|count| count.to_le_bytes().to_vec());
            }
            Self::Read { path } => return fs::read(root.join(path)),
        }?;
        Ok(Vec::new())
    }
}
