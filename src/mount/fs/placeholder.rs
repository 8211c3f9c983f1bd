//! Placeholders: what differs for a file whose bytes are only on the server.
//!
//! Reading attributes, renaming and setting times never fetch. Reading fetches what is read; a
//! change fetches the whole file first, or nothing if nothing of it is kept. No function here waits
//! for bytes: it fails with [`TreeError::NeedsFetch`] (or returns what is missing), and the request
//! runs again when the bytes have arrived.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::{Timestamps, UTIME_NOW, UTIME_OMIT};

use super::open_file::OpenFile;
use super::target::Target;
use super::tree::Tree;
use crate::fetch::{OpenGuard, OpenPlaceholder};
use crate::journal::{FileId, Stamp};
use crate::mount::types::{AttributeChange, HandleId, IoPath, TreeError};
use crate::spool::{self, Access, Durability, Kind, Metadata, OpenOptions, Placeholder, Timespec};

/// Bytes in the unit of `st_blocks` (stat(2)).
const BLOCK_UNIT: u64 = 512;

/// The preferred I/O size (`st_blksize`) of files that the daemon serves: as much as the kernel
/// passes on in one request. `cp` then makes 40 requests for a 40 MB photo instead of 320. Files
/// that the kernel serves keep the disk's own value: on a machine whose large pages have to be got
/// from its host, a program that writes a megabyte at a time takes six times as long.
const DIRECT_BLOCK_SIZE: u32 = 1 << 20;

/// A placeholder that is being emptied; its mark is cleared afterwards.
pub(super) struct TruncateToZero {
    _guard: OpenGuard,
    file: File,
}

impl Tree {
    /// Protects the local bytes of a file from eviction while it is open, and learns whether some
    /// are missing.
    pub(super) fn pin_data(&self, id: FileId, file: &File) -> Result<Option<OpenGuard>, TreeError> {
        match &self.fetcher {
            Some(fetcher) => Ok(Some(
                fetcher
                    .register_open(id, file)
                    .map_err(TreeError::during("read the placeholder of"))?,
            )),
            None => {
                match Placeholder::of(file).map_err(TreeError::during("read the placeholder of"))? {
                    Some(_) => Err(TreeError::NoFetcher),
                    None => Ok(None),
                }
            }
        }
    }

    /// Does the same for a new file, which is complete.
    pub(super) fn pin_new_file(&self, id: FileId) -> Option<OpenGuard> {
        self.fetcher
            .as_ref()
            .map(|fetcher| fetcher.register_created(id))
    }

    /// The missing bytes of this part of an open file; `None` if it can be read now.
    pub(in crate::mount) fn missing(
        &self,
        handle: HandleId,
        offset: u64,
        length: u64,
    ) -> Option<OpenPlaceholder> {
        let open = self.handles.file(handle)?;
        open.placeholder()
            .filter(|placeholder| !placeholder.has(offset, length))
            .cloned()
    }

    /// The attributes that programs see: a file that is being fetched has the time of the complete
    /// file.
    pub(super) fn shown(&self, mut metadata: Metadata) -> Metadata {
        if self.io_path() == IoPath::Direct {
            metadata.block_size = DIRECT_BLOCK_SIZE;
        }
        let being_fetched = self
            .fetcher
            .as_ref()
            .filter(|_| metadata.kind == Kind::File);
        match being_fetched.and_then(|fetcher| fetcher.stamp_during_fetch(metadata.id)) {
            Some(stamp) => Metadata {
                modified: timespec(stamp.mtime_ns),
                ..metadata
            },
            None => metadata,
        }
    }

    /// Prepares a file for being resized by name. A placeholder must be fetched first
    /// ([`TreeError::NeedsFetch`]), unless it becomes empty.
    pub(super) fn before_resize(
        &self,
        target: &Target,
        id: FileId,
        size: u64,
    ) -> Result<Option<TruncateToZero>, TreeError> {
        let Target::Pinned(pinned) = target else {
            return Ok(None);
        };
        let options = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(pinned, options).map_err(TreeError::during("open"))?;
        let Some(guard) = self.pin_data(id, &file)? else {
            return Ok(None);
        };
        match guard.placeholder() {
            None => Ok(None),
            Some(placeholder) if size > 0 => Err(TreeError::NeedsFetch(placeholder.clone())),
            Some(placeholder) => {
                self.discard_remote(placeholder, &file)?;
                Ok(Some(TruncateToZero {
                    _guard: guard,
                    file,
                }))
            }
        }
    }

    /// Clears the mark of a file that was emptied: it is complete.
    pub(super) fn after_resize(&self, emptied: Option<&TruncateToZero>) -> Result<(), TreeError> {
        let closed = emptied.map_or(Ok(()), |emptied| {
            self.spool.marker().mark_closed(&emptied.file)
        });
        closed.map_err(TreeError::during("mark"))
    }

    /// Empties a file through a handle that cannot write (`O_RDONLY | O_TRUNC`).
    pub(super) fn empty_read_only(&self, open: &OpenFile) -> Result<(), TreeError> {
        let options = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(&open.file, options).map_err(TreeError::during("truncate"))?;
        let Some(placeholder) = open.placeholder() else {
            return self.truncate_to_zero(&file);
        };
        self.discard_remote(placeholder, &file)?;
        self.truncate_to_zero(&file)?;
        self.spool
            .marker()
            .mark_closed(&file)
            .map_err(TreeError::during("mark"))
    }

    /// Gives up the bytes that are only on the server. Until the file is empty it has holes and
    /// nothing that says so, so it is marked as incomplete for that long.
    fn discard_remote(&self, placeholder: &OpenPlaceholder, file: &File) -> Result<(), TreeError> {
        self.spool
            .marker()
            .mark_open(file)
            .map_err(TreeError::during("mark"))?;
        placeholder.discard().map_err(TreeError::during("truncate"))
    }

    /// Writes. On a full disk, local copies of backed-up photos are deleted first to make room; this
    /// does not wait for the network.
    pub(super) fn write_or_make_room(
        &self,
        file: &File,
        bytes: &[u8],
        offset: u64,
    ) -> std::io::Result<usize> {
        match (file.write_at(bytes, offset), &self.fetcher) {
            (Err(error), Some(fetcher))
                if is_full(&error) && fetcher.free_space(bytes.len() as u64) =>
            {
                file.write_at(bytes, offset)
            }
            (written, _) => written,
        }
    }

    /// Records a modification time that was set on a placeholder: fetching its bytes changes the
    /// time on the disk.
    pub(super) fn record_mtime(
        &self,
        target: &Target,
        change: &AttributeChange,
        metadata: Metadata,
    ) -> Result<(), TreeError> {
        let (Some(fetcher), Some(times)) = (&self.fetcher, &change.times) else {
            return Ok(());
        };
        // All its blocks are allocated, and no fetch is under way: it is not a placeholder, and
        // reading its attributes is not needed.
        let is_ordinary = metadata.blocks * BLOCK_UNIT >= metadata.size
            && fetcher.stamp_during_fetch(metadata.id).is_none();
        if metadata.kind != Kind::File
            || is_ordinary
            || times.last_modification.tv_nsec == UTIME_OMIT
        {
            return Ok(());
        }
        let options = OpenOptions {
            access: Access::Read,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(target, options).map_err(TreeError::during("open"))?;
        fetcher
            .set_mtime(metadata.id, &file, time_set(times, metadata))
            .map_err(TreeError::during("record the time of"))
    }
}

/// Fails with `EOPNOTSUPP` unless both files are complete and can be copied inside the spool; the
/// kernel then reads and writes instead.
pub(super) fn both_local(from: &Arc<OpenFile>, to: &Arc<OpenFile>) -> Result<(), TreeError> {
    if from.placeholder().is_some() || to.placeholder().is_some() {
        return Err(TreeError::during("copy")(
            rustix::io::Errno::OPNOTSUPP.into(),
        ));
    }
    Ok(())
}

fn is_full(error: &std::io::Error) -> bool {
    use rustix::io::Errno;

    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT)
    )
}

fn time_set(times: &Timestamps, metadata: Metadata) -> Stamp {
    let set = times.last_modification;
    if set.tv_nsec == UTIME_NOW {
        return metadata.stamp();
    }
    let nanoseconds = u32::try_from(set.tv_nsec).unwrap_or_default();
    Metadata {
        modified: Timespec {
            seconds: set.tv_sec,
            nanoseconds,
        },
        ..metadata
    }
    .stamp()
}

fn timespec(ns: i64) -> Timespec {
    const SECOND: i64 = 1_000_000_000;
    let nanoseconds =
        u32::try_from(ns.rem_euclid(SECOND)).expect("a remainder of a billion fits into 32 bits");
    Timespec {
        seconds: ns.div_euclid(SECOND),
        nanoseconds,
    }
}
