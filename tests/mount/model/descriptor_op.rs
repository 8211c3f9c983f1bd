//! Operations on files that stay open while their names come and go.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;

use super::step::{bytes, mode, path, position};

/// The most files that are open at a time.
const SLOTS: usize = 3;
/// More bytes than a file has.
const READ_MAX: usize = 60_000;

/// The files that are open now.
pub(crate) type OpenFiles = [Option<File>; SLOTS];

#[derive(Clone, Copy, Debug)]
pub(crate) enum OpenMode {
    Found,
    Made,
    Emptied,
    Appending,
}

#[derive(Clone, Debug)]
pub(crate) enum DescriptorOp {
    Open {
        slot: usize,
        path: String,
        how: OpenMode,
    },
    Write {
        slot: usize,
        at: u64,
        bytes: Vec<u8>,
    },
    Read {
        slot: usize,
    },
    Resize {
        slot: usize,
        size: u64,
    },
    Mode {
        slot: usize,
        mode: u32,
    },
    Sync {
        slot: usize,
    },
    Close {
        slot: usize,
    },
}

impl DescriptorOp {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let slot = || 0..SLOTS;
        let how = select(vec![
            OpenMode::Found,
            OpenMode::Made,
            OpenMode::Emptied,
            OpenMode::Appending,
        ]);
        prop_oneof![
            4 => (slot(), path(), how).prop_map(|(slot, path, how)| Self::Open { slot, path, how }),
            3 => (slot(), position(), bytes()).prop_map(|(slot, at, bytes)| Self::Write { slot, at, bytes }),
            2 => slot().prop_map(|slot| Self::Read { slot }),
            1 => (slot(), position()).prop_map(|(slot, size)| Self::Resize { slot, size }),
            1 => (slot(), mode()).prop_map(|(slot, mode)| Self::Mode { slot, mode }),
            1 => slot().prop_map(|slot| Self::Sync { slot }),
            1 => slot().prop_map(|slot| Self::Close { slot }),
        ]
    }

    /// Applies the operation; returns the bytes read, with link count and size. An operation on an
    /// empty slot returns nothing.
    pub(crate) fn apply(&self, root: &Path, slots: &mut OpenFiles) -> io::Result<Vec<u8>> {
        match self {
            Self::Open { slot, path, how } => slots[*slot] = Some(open(&root.join(path), *how)?),
            Self::Close { slot } => slots[*slot] = None,
            Self::Write { slot, .. }
            | Self::Read { slot }
            | Self::Resize { slot, .. }
            | Self::Mode { slot, .. }
            | Self::Sync { slot } => {
                return slots[*slot]
                    .as_ref()
                    .map_or(Ok(Vec::new()), |file| self.apply_to(file));
            }
        }
        Ok(Vec::new())
    }

    fn apply_to(&self, file: &File) -> io::Result<Vec<u8>> {
        match self {
            Self::Write { at, bytes, .. } => file.write_all_at(bytes, *at)?,
            Self::Read { .. } => return read(file),
            Self::Resize { size, .. } => file.set_len(*size)?,
            Self::Mode { mode, .. } => file.set_permissions(Permissions::from_mode(*mode))?,
            Self::Sync { .. } => file.sync_all()?,
            Self::Open { .. } | Self::Close { .. } => {}
        }
        Ok(Vec::new())
    }
}

fn open(path: &Path, how: OpenMode) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    match how {
        OpenMode::Found => options.write(true),
        OpenMode::Made => options.write(true).create(true),
        OpenMode::Emptied => options.write(true).truncate(true),
        OpenMode::Appending => options.append(true),
    };
    options.open(path)
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; READ_MAX];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    let metadata = file.metadata()?;
    bytes.extend(
        format!(
            "{} links, {} bytes, mode {:o}",
            metadata.nlink(),
            metadata.len(),
            metadata.mode()
        )
        .bytes(),
    );
    Ok(bytes)
}
